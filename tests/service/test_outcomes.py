"""Outcomes: the operator sees all, and that is noted; a group its own line and no more."""

from typing import Any

import pytest
from scenes import claim, queue_job, settle, settle_next, valued
from sqlalchemy import select
from starlette.testclient import TestClient
from support import MakeGroup, OpenRound, report_body

from api_schemas.outcomes import FreshValuation, RewardAgreement
from service.dependencies import AppState
from service.jobs.leases import Claim
from service.tables import AuditRow

FRESH = FreshValuation(
    samples=16,
    welfare_initial=1.0,
    welfare_initial_standard_error=0.25,
    welfare=2.0,
    welfare_standard_error=0.25,
    gain=1.0,
    gain_standard_error=0.5,
    divergence=0.125,
)


def test_the_operator_sees_every_world_and_group_and_the_log_says_so(
    operator: TestClient, state: AppState
) -> None:
    queue_job(state.database)
    held = settle_next(state)
    outcome = operator.get(f"/v1/rounds/{held.job.round_id}/outcome").json()
    assert len(outcome["worlds"]) == 4
    assert [group["size"] for group in outcome["groups"]] == [1, 2, 3]
    with state.database.read() as session:
        actions = session.scalars(
            select(AuditRow.action).where(AuditRow.subject == held.job.round_id)
        ).all()
    assert actions.count("outcome.read") == 1


def test_a_group_sees_the_grand_world_and_its_own_line(
    make_group: MakeGroup, state: AppState
) -> None:
    members = dict(make_group(name) for name in ("teachers", "pupils", "parents"))
    queue_job(state.database, sorted(members))
    held = settle_next(state)
    for group_id, client in members.items():
        outcome = client.get(f"/v1/rounds/{held.job.round_id}/outcome").json()
        assert [world["world"] for world in outcome["worlds"]] == ["grand"]
        assert [group["group_id"] for group in outcome["groups"]] == [group_id]
        assert outcome["groups"][0]["others_welfare_without"] == 1.5
        assert all(other not in str(outcome) for other in members if other != group_id)


def test_with_two_groups_neither_learns_the_others_welfare(
    operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    """Nor that of all: less its own valuation, that is the other's."""
    members = dict(make_group(name) for name in ("teachers", "pupils"))
    queue_job(state.database, sorted(members))
    held = claim(state.database)
    _settle_changed(state, held, fresh=FRESH)
    for client in members.values():
        outcome = client.get(f"/v1/rounds/{held.job.round_id}/outcome").json()
        assert (outcome["worlds"], outcome["delivered"], outcome["fresh"]) == ([], None, None)
        (line,) = outcome["groups"]
        assert (line["others_welfare_without"], line["others_welfare_with"]) == (None, None)
        assert (line["valuation"], line["payment"]) == (0.75, 0.5)
    seen = operator.get(f"/v1/rounds/{held.job.round_id}/outcome").json()
    assert len(seen["worlds"]) == 3
    assert seen["delivered"]["welfare"] == 2.0
    assert seen["fresh"] == FRESH.model_dump()


@pytest.mark.parametrize("names", [("teachers", "pupils"), ("teachers", "pupils", "parents")])
def test_only_the_operator_learns_how_far_the_reward_models_agree(
    operator: TestClient, make_group: MakeGroup, state: AppState, names: tuple[str, ...]
) -> None:
    members = dict(make_group(name) for name in names)
    queue_job(state.database, sorted(members))
    held = claim(state.database)
    found = RewardAgreement(group_ids=sorted(members), spearman=[[0.5] * len(names)] * len(names))
    _settle_changed(state, held, reward_agreement=found)
    for client in members.values():
        outcome = client.get(f"/v1/rounds/{held.job.round_id}/outcome").json()
        assert outcome["reward_agreement"] is None
    seen = operator.get(f"/v1/rounds/{held.job.round_id}/outcome").json()
    assert seen["reward_agreement"] == found.model_dump()


def test_an_excluded_group_is_not_one_of_three(make_group: MakeGroup, state: AppState) -> None:
    members = dict(make_group(name) for name in ("teachers", "pupils", "parents"))
    queue_job(state.database, sorted(members))
    held = settle_next(state, excluded={max(members): "sample 3 has no score"})
    for client in members.values():
        outcome = client.get(f"/v1/rounds/{held.job.round_id}/outcome").json()
        assert (outcome["worlds"], outcome["delivered"]) == ([], None)


@pytest.mark.parametrize("field", ["worlds", "delivered"])
def test_a_group_does_not_learn_whose_world_the_chosen_adapter_comes_from(
    operator: TestClient, make_group: MakeGroup, state: AppState, field: str
) -> None:
    members = dict(make_group(name) for name in ("teachers", "pupils", "parents"))
    queue_job(state.database, sorted(members))
    held = claim(state.database)
    left_out = sorted(members)[0]
    grand, *others = valued(held.job).outcome.worlds
    chosen = grand.model_copy(update={"chosen": f"without:{left_out}@8"})
    changes = {"worlds": [chosen, *others], "delivered": chosen}
    _settle_changed(state, held, **changes)

    def seen_by(client: TestClient) -> str:
        found = client.get(f"/v1/rounds/{held.job.round_id}/outcome").json()[field]
        return str((found[0] if field == "worlds" else found)["chosen"])

    assert seen_by(operator) == f"without:{left_out}@8"
    for group_id, client in members.items():
        own = group_id == left_out
        assert seen_by(client) == (f"without:{left_out}@8" if own else "without:another@8")


def test_a_group_reads_no_warning_that_names_another(
    make_group: MakeGroup, state: AppState
) -> None:
    members = dict(make_group(name) for name in ("teachers", "pupils", "parents"))
    queue_job(state.database, sorted(members))
    held = claim(state.database)
    warnings = ["the pool is small", *(f"world without:{id_} is off" for id_ in members)]
    _settle_changed(state, held, warnings=warnings)
    for group_id, client in members.items():
        shown = client.get(f"/v1/rounds/{held.job.round_id}/outcome").json()["warnings"]
        assert shown == ["the pool is small", f"world without:{group_id} is off"]


def test_with_fewer_than_three_groups_no_warning_tells_of_worlds(
    make_group: MakeGroup, state: AppState
) -> None:
    members = dict(make_group(name) for name in ("teachers", "pupils"))
    queue_job(state.database, sorted(members))
    held = claim(state.database)
    warnings = ["the pool is small", "world grand: its optimum is 1.23 nats from the initial model"]
    _settle_changed(state, held, warnings=warnings)
    for client in members.values():
        shown = client.get(f"/v1/rounds/{held.job.round_id}/outcome").json()["warnings"]
        assert shown == ["the pool is small"]


@pytest.mark.parametrize("names", [("teachers", "pupils"), ("teachers", "pupils", "parents")])
def test_with_fewer_than_three_groups_the_certificates_figures_are_the_operators(
    operator: TestClient, make_group: MakeGroup, state: AppState, names: tuple[str, ...]
) -> None:
    members = dict(make_group(name) for name in names)
    queue_job(state.database, sorted(members))
    held = claim(state.database)
    figures = "the priced model is 0.0625 below the best"
    certificate = valued(held.job).outcome.certificate.model_copy(update={"figures": figures})
    _settle_changed(state, held, certificate=certificate)
    url = f"/v1/rounds/{held.job.round_id}/outcome"
    assert operator.get(url).json()["certificate"]["figures"] == figures
    for client in members.values():
        assert ("0.0625" in client.get(url).text) == (len(names) == 3)


def test_an_excluded_group_learns_why(make_group: MakeGroup, state: AppState) -> None:
    excluded_id, excluded = make_group("pupils")
    other_id, _ = make_group("teachers")
    queue_job(state.database, sorted([excluded_id, other_id]))
    held = settle_next(state, excluded={excluded_id: "sample 3 has no score"})
    (line,) = excluded.get(f"/v1/rounds/{held.job.round_id}/outcome").json()["groups"]
    assert line["excluded"] == "sample 3 has no score"
    assert line["payment"] is None


@pytest.mark.parametrize("settled", [False, True])
def test_a_group_that_did_not_report_is_told_that_there_is_nothing(
    make_group: MakeGroup, state: AppState, settled: bool
) -> None:
    _, outsider = make_group("outsiders")
    queue_job(state.database)
    held = settle_next(state) if settled else claim(state.database)
    assert outsider.get(f"/v1/rounds/{held.job.round_id}/outcome").status_code == 404


def test_an_outcome_before_the_settlement_is_a_conflict(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound
) -> None:
    round_id = open_round()["id"]
    _, group = make_group("teachers")
    group.put(f"/v1/rounds/{round_id}/report", json=report_body())
    for client in (operator, group):
        refused = client.get(f"/v1/rounds/{round_id}/outcome")
        assert (refused.status_code, refused.json()["code"]) == (409, "not_settled")
    assert operator.get("/v1/rounds/rnd_" + "0" * 26 + "/outcome").status_code == 404


def _settle_changed(state: AppState, held: Claim, **changes: Any) -> None:
    """Settle the job with the outcome that `valued` makes, but for the changes."""
    found = valued(held.job)
    outcome = found.outcome.model_copy(update=changes)
    settle(state.database, held, found.model_copy(update={"outcome": outcome}))
