"""Pages that only a refusal, a new secret or a job's end shows: these shut nobody out either.

In a real browser, which sends each form as its page would.
"""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from browsing import Tab
from fastapi import APIRouter
from fastapi.routing import APIRoute
from group_scenes import open_round
from operator_scenes import draft_round, settle_round
from playwright.sync_api import expect
from reward_model_scenes import create, preferences
from scenes import claim, queue_job
from site_scenes import Site

from api_schemas.rounds import RoundFailure
from service.dashboard import group, playground
from service.dashboard.operator import round_form, routers
from service.jobs import leases

OpenTab = Callable[..., Tab]
Fields = dict[str, str]
NO_KEY = "key_" + "0" * 26
FAILURE = RoundFailure(code="empty_pool", message="there is nothing to choose from")

OPERATORS_FORMS: dict[str, tuple[Fields, int, str]] = {
    "/rounds/new": ({"name": "x"}, 422, "prompts_file_id"),
    "/rounds/{round_id}/open": ({}, 409, "is settled"),
    "/rounds/{round_id}/quotes": ({"groups": "0"}, 422, "greater than or equal to 1"),
    "/rounds/{round_id}/audits/new": ({"alphas": "0.5, twice"}, 422, "alphas[1]"),
    "/jobs/{job_id}/{deed}": ({}, 409, "is succeeded"),
    "/invoices/{invoice_id}/payments": ({"amount_micro_units": "x"}, 422, "is no amount"),
    "/invoices/{invoice_id}/credit-notes": ({"credit_micro_units": "9"}, 422, "reason: "),
    "/invoices/{invoice_id}/{deed}": ({}, 409, "can't be opened"),
    "/groups": ({"name": "teachers"}, 409, "'teachers' already"),
    "/keys": ({"for": "operator", "access": "read"}, 201, "This is the only time"),
    "/keys/{key_id}/rotate": ({}, 404, NO_KEY),
    "/keys/{key_id}/revoke": ({}, 404, NO_KEY),
}
"""Every form of the operator: its fields, and the status and a part of the page that answers."""

ALIKE = {"/rounds/{round_id}/close", "/rounds/{round_id}/cancel"}
"""Answered by the very lines that answer `/open`."""

WORDS = {"action": "submit", "features.0.type": "keywords", "features.0.words": "please"}
GROUPS_FORMS: dict[str, tuple[Fields, int, str]] = {
    "/rounds/{round_id}/report": ({"size": "99", **WORDS}, 422, "99"),
    "/rounds/{round_id}/report/withdraw": ({}, 409, "is settled"),
    "/reward-models": ({"name": "words"}, 422, "choose a file"),
    "/playground": ({"model": "{model_id}", "max_tokens": "0"}, 422, "max_tokens: "),
}
NO_PAGE = "/playground/stream/{side}"


@pytest.fixture(scope="module")
def group_key(site: Site) -> str:
    return site.new_group("teachers")[1]


@pytest.fixture(scope="module")
def ids(site: Site, group_key: str) -> dict[str, str]:
    """By the names in the paths above, of a settled round that the group took part in."""
    with site.api(group_key) as api:
        group_id = api.get("/v1/keys/current").json()["group_id"]
    books = vars(settle_round(site, [group_id, site.new_group("hosts")[0]]))
    return books | {"key_id": NO_KEY}


def _posts(of: Iterable[APIRouter]) -> set[str]:
    routes = [route for router in of for route in router.routes if isinstance(route, APIRoute)]
    return {route.path.removeprefix("/dashboard") for route in routes if "POST" in route.methods}


def test_the_answer_to_every_form_is_looked_at() -> None:
    assert _posts([*routers.ROUTERS, round_form.router]) == {*OPERATORS_FORMS, *ALIKE}
    assert _posts([*group.ROUTERS, playground.router]) == {*GROUPS_FORMS, NO_PAGE}


def _send(opened: Tab, path: str, ids: dict[str, str], answer: tuple[Fields, int, str]) -> None:
    fields, status, said = answer
    sent = {name: value.format(**ids) for name, value in fields.items()}
    assert (path, opened.send(f"/dashboard{path.format(**ids)}", sent).status) == (path, status)
    if status >= 400:
        opened.expect_error(str(status))
        said_of_it = opened.page.locator(".problem, [role=alert]").all_inner_texts()
        assert any(said in each for each in said_of_it), (path, said_of_it)
    _look_at(opened, path, said)


def _look_at(opened: Tab, path: str, said: str) -> None:
    expect(opened.page.get_by_role("main")).to_contain_text(said)
    assert (path, opened.violations()) == (path, [])


def test_no_answer_to_the_operator_shuts_anyone_out(
    site: Site, ids: dict[str, str], tab: OpenTab
) -> None:
    opened = tab(site.operator_key)
    deeds = {"/jobs/{job_id}/{deed}": "retry", "/invoices/{invoice_id}/{deed}": "open"}
    drafted = {"/rounds/{round_id}/quotes": draft_round(site)}
    for path, answer in OPERATORS_FORMS.items():
        named = ids | {"deed": deeds.get(path, ""), "round_id": drafted.get(path, ids["round_id"])}
        _send(opened, path, named, answer)


def test_no_answer_to_a_group_shuts_anyone_out(
    site: Site, group_key: str, ids: dict[str, str], tab: OpenTab
) -> None:
    opened = tab(group_key)
    reported = {"/rounds/{round_id}/report": open_round(site)}
    for path, answer in GROUPS_FORMS.items():
        _send(opened, path, ids | {"round_id": reported.get(path, ids["round_id"])}, answer)


def test_what_a_group_sees_of_the_operators_pages_shuts_nobody_out(
    group_key: str, ids: dict[str, str], tab: OpenTab
) -> None:
    """What is its own, without deeds; of the rest, that it is refused."""
    opened = tab(group_key)
    shown = {
        "/jobs/{job_id}": "Job of Tone of the help desk",
        "/invoices": "Invoices",
        "/invoices/{invoice_id}": "Payments",
        "/models": "Models",
    }
    for path, said in shown.items():
        assert opened.go(f"/dashboard{path.format(**ids)}").status == 200
        assert opened.page.get_by_role("main").locator("form[method=post]").count() == 0
        _look_at(opened, path, said)
    assert opened.go("/dashboard/keys").status == 403
    _look_at(opened, "/keys", "Forbidden")
    opened.expect_error("403")


def test_no_state_of_a_job_shuts_anyone_out(
    site: Site, group_key: str, ids: dict[str, str], tab: OpenTab
) -> None:
    """Queued, failed and succeeded; a round's for the operator, a reward model's for a group."""
    jobs = {"succeeded": ids["job_id"], "failed": queue_job(site.state.database)}
    failed_round = _fail_next(site).job.round_id
    jobs["queued"] = queue_job(site.state.database)
    operator = tab(site.operator_key)
    for status, job_id in jobs.items():
        operator.go(f"/dashboard/jobs/{job_id}")
        expect(operator.page.locator("h1 .badge")).to_have_text(status)
        _look_at(operator, status, "Job of")
    operator.go(f"/dashboard/rounds/{failed_round}")
    _look_at(operator, "failed round", FAILURE.message)
    _look_at_a_reward_models_job(site, group_key, tab())


def _look_at_a_reward_models_job(site: Site, key: str, opened: Tab) -> None:
    claim(site.state.database)  # the queued round of before, so that this job is the next
    with site.api(key) as api:
        made = create(api, preferences(api))  # type: ignore[arg-type]
    opened.sign_in(key)
    opened.go(f"/dashboard/reward-models/{made['id']}")
    _look_at(opened, "queued reward model", "Waiting for its turn")
    _fail_next(site)
    opened.page.get_by_text("could not be made").wait_for()
    _look_at(opened, "failed reward model", FAILURE.message)


def _fail_next(site: Site) -> Any:
    held = claim(site.state.database)
    with site.state.database.write() as session:
        leases.fail(session, held, FAILURE)
    return held
