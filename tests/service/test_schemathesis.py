"""Generated requests, valid and not, against the API's own document, over a real socket.

Each alone, and in chains in which an answer's ids are the next request's. `make test-slow` sends
ten thousand and prints what came of them.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from live_api import ANSWER_CHECKS, ENDLESS, Live, serve

from service.app import create_app
from service.settings import Settings

CASES = 10_000
CASES_OF_A_ROUTE = 60
STEPS = 20
PATIENCE_SECONDS = 60
"""A reward model's first probe loads dictionaries; beside other work that takes a while."""

UNHEALTHY = list(HealthCheck)

schema = schemathesis.openapi.from_dict(create_app(Settings()).openapi())
# In a chain a request must be good for the next one to follow; and of what could be bad about most,
# Schemathesis would choose the missing key, and get nowhere.
schema.config.phases.stateful.generation.modes = [schemathesis.GenerationMode.POSITIVE]
chained = schema.exclude(path=ENDLESS)


@pytest.fixture(scope="module")
def live(new_postgres_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serve(new_postgres_database, tmp_path_factory.mktemp("home")) as live:
        yield live


@schema.parametrize()
@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=UNHEALTHY)
def test_generated_requests_get_documented_answers(case: schemathesis.Case, live: Live) -> None:
    _send(case, live)


def test_generated_chains_of_requests_get_documented_answers(live: Live) -> None:
    live.figures.statuses.clear()
    _run(_chain(live), chains=10, steps=10, derandomize=True)
    assert live.figures.statuses.total() >= 50
    assert live.figures.statuses[401] == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_campaign_of_ten_thousand_requests_meets_no_failure_and_no_undocumented_answer(
    live: Live, capfd: pytest.CaptureFixture[str]
) -> None:
    live.figures.statuses.clear()
    live.figures.routes.clear()
    _send_to_every_route(live, CASES_OF_A_ROUTE)
    chain = _chain(live)
    while live.figures.statuses.total() < CASES:
        # One at a time: the service has changed until the next, which Hypothesis would call flaky.
        _run(chain, chains=1, steps=STEPS, derandomize=False)
    with capfd.disabled():
        print(f"\nSchemathesis: {live.figures}, 0 schema violations")
    assert len(live.figures.routes) == len(list(schema.get_all_operations()))
    assert max(live.figures.statuses) < 500
    assert live.figures.statuses[401] < CASES // 5


def _send(case: schemathesis.Case, live: Live) -> None:
    live.spare(case)
    headers, checks = live.aim(case)
    response = case.call(base_url=live.base_url, headers=headers, timeout=PATIENCE_SECONDS)
    live.figures.note(case, response.status_code)
    case.validate_response(response, checks=checks, headers=headers)


def _send_to_every_route(live: Live, cases: int) -> None:
    for found in schema.get_all_operations():
        strategy: st.SearchStrategy[schemathesis.Case] = found.ok().as_strategy()

        @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=UNHEALTHY)
        @given(case=strategy)
        def send(case: schemathesis.Case) -> None:
            _send(case, live)

        send()


def _chain(live: Live) -> type[Any]:
    class Chain(chained.as_state_machine()):  # type: ignore[misc]
        """Every answer must be as documented; a chain that goes nowhere is no failure."""

        def call(self, case: schemathesis.Case, **kwargs: object) -> schemathesis.Response:
            live.spare(case)
            is_groups = case.path == "/v1/rounds/{round_id}/report"
            headers = live.group if is_groups else live.operator
            response = case.call(base_url=live.base_url, headers=headers, timeout=PATIENCE_SECONDS)
            live.figures.note(case, response.status_code)
            return response

        def validate_response(
            self, response: schemathesis.Response, case: schemathesis.Case, **kwargs: object
        ) -> None:
            case.validate_response(response, checks=ANSWER_CHECKS)

    return Chain


def _run(chain: type[Any], chains: int, steps: int, derandomize: bool) -> None:
    chain.run(
        settings=settings(
            max_examples=chains,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=derandomize,
            phases=[Phase.generate],
            suppress_health_check=UNHEALTHY,
        )
    )
