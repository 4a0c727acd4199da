"""Certificates: the operator sees all, a group what its outcome shows and no digest of reports."""

from importlib.metadata import version
from typing import Any

import pytest
from scenes import audited, claim, publish, queue_audit, queue_job, settle, settle_next, valued
from sqlalchemy import select
from starlette.testclient import TestClient
from support import MakeGroup, OpenRound, report_body

from api_schemas.outcomes import HoldoutValuation
from service.dependencies import AppState
from service.tables import AuditRow, OutcomeRow

FIGURES = "the priced model is 0.25 below the best"
HOLDOUT = HoldoutValuation(
    welfare=1.75, welfare_initial=1.0, welfare_optimum=2.0, optimality_gap=0.25, divergence=0.125
)


def test_the_operator_sees_every_world_group_and_digest_and_the_log_says_so(
    operator: TestClient, state: AppState
) -> None:
    queue_job(state.database)
    held = settle_next(state)
    round_id = held.job.round_id
    found = operator.get(f"/v1/rounds/{round_id}/certificate").json()
    outcome = operator.get(f"/v1/rounds/{round_id}/outcome").json()
    assert found["certificate"] == outcome["certificate"]
    assert [world["world"] for world in found["worlds"]] == [
        "grand",
        *(f"without:{report.group_id}" for report in held.job.reports),
    ]
    for name, value in found["worlds"][0].items():
        assert value == outcome["worlds"][0][name]
    assert [group["size"] for group in found["groups"]] == [1, 2, 3]
    assert found["audited"] is None
    with state.database.read() as session:
        digest = session.get_one(OutcomeRow, round_id).digest
        actions = session.scalars(select(AuditRow.action).where(AuditRow.subject == round_id))
        assert actions.all().count("certificate.read") == 1
    announced = held.job.announcement
    assert found["digests"] == {
        "announcement": held.job.announcement_digest,
        "pool": outcome["pool_digest"],
        "adapter": outcome["adapter_digest"],
        "outcome": digest,
        "base_model_revision": announced.base_model_revision,
        "prompts": announced.prompts_sha256,
        "stages": {"settle": digest},
        "code_version": version("truthtune"),
    }


def test_a_group_sees_the_grand_world_its_own_line_and_no_digest_of_all_reports(
    make_group: MakeGroup, state: AppState
) -> None:
    members = dict(make_group(name) for name in ("teachers", "pupils", "parents"))
    _settle(state, members, reward_errors=dict.fromkeys(members, 0.25))
    for group_id, client in members.items():
        found = _certificate(client, state)
        assert [world["world"] for world in found["worlds"]] == ["grand"]
        (line,) = found["groups"]
        assert (line["group_id"], line["reward_error"]) == (group_id, 0.25)
        assert found["holdout"] == HOLDOUT.model_dump()
        assert (found["digests"]["outcome"], found["digests"]["stages"]) == (None, None)
        assert all(other not in str(found) for other in members if other != group_id)
        assert found["certificate"]["figures"] == FIGURES


def test_with_two_groups_a_group_sees_neither_worlds_nor_the_held_out_welfare(
    operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    members = dict(make_group(name) for name in ("teachers", "pupils"))
    _settle(state, members)
    for group_id, client in members.items():
        found = _certificate(client, state)
        assert (found["worlds"], found["holdout"]) == ([], None)
        assert [line["group_id"] for line in found["groups"]] == [group_id]
        assert FIGURES not in str(found)
    seen = _certificate(operator, state)
    assert len(seen["worlds"]) == 3
    assert seen["holdout"] == HOLDOUT.model_dump()
    assert seen["certificate"]["figures"] == FIGURES


def test_the_largest_gains_are_over_all_finished_audits(
    operator: TestClient, state: AppState
) -> None:
    queue_job(state.database)
    round_id = settle_next(state).job.round_id
    gains: list[dict[str, float | None]] = [
        {"largest_gain": -0.5, "largest_gain_retrained": 0.125},
        {"largest_gain": -0.25, "largest_gain_without_payments": 0.75},
    ]
    for found in gains:
        queue_audit(state.database, round_id)
        held = claim(state.database)
        publish(state, held, audited(held.job, state.artifacts, **found))
    queue_audit(state.database, round_id)  # has not finished
    assert operator.get(f"/v1/rounds/{round_id}/certificate").json()["audited"] == {
        "audits": 2,
        "largest_gain": -0.25,
        "largest_gain_without_payments": 1.0,
        "largest_gain_retrained": 0.125,
    }


@pytest.mark.parametrize(("gain", "shown"), [(-0.25, 0.0), (0.0, 0.0), (3e-13, 0.0), (0.5, 0.5)])
def test_a_group_learns_whether_a_misreport_gained_and_no_more(
    make_group: MakeGroup, state: AppState, gain: float, shown: float
) -> None:
    """By how much each lost, or would gain unpaid, depends on what the others reported."""
    member_id, member = make_group("teachers")
    queue_job(state.database, [member_id])
    round_id = settle_next(state).job.round_id
    queue_audit(state.database, round_id)
    held = claim(state.database)
    found = audited(held.job, state.artifacts, largest_gain=gain, largest_gain_retrained=0.125)
    publish(state, held, found)
    assert member.get(f"/v1/rounds/{round_id}/certificate").json()["audited"] == {
        "audits": 1,
        "largest_gain": shown,
        "largest_gain_without_payments": None,
        "largest_gain_retrained": None,
    }


@pytest.mark.parametrize("settled", [False, True])
def test_a_group_that_did_not_report_is_told_that_there_is_no_certificate(
    make_group: MakeGroup, state: AppState, settled: bool
) -> None:
    _, outsider = make_group("outsiders")
    queue_job(state.database)
    held = settle_next(state) if settled else claim(state.database)
    assert outsider.get(f"/v1/rounds/{held.job.round_id}/certificate").status_code == 404


def test_a_certificate_before_the_settlement_is_a_conflict(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound
) -> None:
    round_id = open_round()["id"]
    _, group = make_group("teachers")
    group.put(f"/v1/rounds/{round_id}/report", json=report_body())
    for client in (operator, group):
        refused = client.get(f"/v1/rounds/{round_id}/certificate")
        assert (refused.status_code, refused.json()["code"]) == (409, "not_settled")
    assert operator.get("/v1/rounds/rnd_" + "0" * 26 + "/certificate").status_code == 404


def _settle(
    state: AppState, members: dict[str, Any], reward_errors: dict[str, float] | None = None
) -> None:
    """Settle a round of the members, with a held-out valuation and figures."""
    queue_job(state.database, sorted(members))
    held = claim(state.database)
    found = valued(held.job)
    certificate = found.outcome.certificate.model_copy(update={"figures": FIGURES})
    groups = [
        group.model_copy(update={"reward_error": (reward_errors or {}).get(group.group_id)})
        for group in found.outcome.groups
    ]
    changes = {"holdout": HOLDOUT, "certificate": certificate, "groups": groups}
    outcome = found.outcome.model_copy(update=changes)
    settle(state.database, held, found.model_copy(update={"outcome": outcome}))


def _certificate(client: TestClient, state: AppState) -> dict[str, Any]:
    with state.database.read() as session:
        round_id = session.scalars(select(OutcomeRow.round_id)).one()
    return dict(client.get(f"/v1/rounds/{round_id}/certificate").json())
