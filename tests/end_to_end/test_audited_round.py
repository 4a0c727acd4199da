"""An audit of a settled round and its certificate: real server, real Ray, the real command."""

from pathlib import Path

import pytest
from conftest import People, SettledRound
from processes import Processes

from api_schemas.audits import Audit
from api_schemas.errors import Conflict, Forbidden

pytestmark = pytest.mark.slow


def test_an_audit_replays_a_settled_round_and_its_gains_reach_the_certificate(
    processes: Processes, people: People, undisturbed: SettledRound, tmp_path: Path
) -> None:
    round_id, liar = undisturbed.round.id, people.group_ids[1]
    out, plot = tmp_path / "audit.json", tmp_path / "audit.svg"
    as_operator = ("--url", processes.url, "--api-key", people.operator_key)
    coordinator = processes.coordinator()
    try:
        processes.command(
            *(*as_operator, "audit", round_id, "--retrain", f"{liar}:inflate:1.4"),
            *("--out", str(out), "--plot", str(plot)),
        )
    finally:
        coordinator.terminate()
        coordinator.wait(30)
    audit = Audit.model_validate_json(out.read_bytes())
    assert audit.result is not None
    assert audit.result.largest_gain <= 1e-9
    assert audit.result.largest_gain_without_payments > 0.001
    (retrained,) = audit.result.retrained
    assert (retrained.group_id, retrained.reported_size) == (liar, 10)
    certificate = people.operator.rounds.certificate(round_id)
    assert retrained.gain <= certificate.certificate.largest_gain + 1e-9
    assert certificate.audited is not None
    assert certificate.audited.largest_gain == audit.result.largest_gain
    assert certificate.audited.largest_gain_retrained == retrained.gain
    assert b"<svg" in plot.read_bytes()
    drawn = tmp_path / "drift.svg"
    processes.command(*as_operator, "job", "plot", undisturbed.job.id, "--out", str(drawn))
    assert b"<svg" in drawn.read_bytes()
    assert people.operator.rounds.get(round_id).state == "settled"


def test_groups_have_no_part_in_audits_and_open_rounds_have_none(
    people: People, undisturbed: SettledRound, tmp_path: Path
) -> None:
    with pytest.raises(Forbidden):
        people.groups[0].audits.create(undisturbed.round.id)
    opened = people.open_round(tmp_path)
    with pytest.raises(Conflict, match="is open; only a settled round can be audited"):
        people.operator.audits.create(opened.id)
    people.operator.rounds.cancel(opened.id)
