"""From a report over HTTP to a downloaded adapter and a receipt: real server, real Ray."""

from fractions import Fraction
from math import floor
from pathlib import Path

import pytest
from conftest import People, SettledRound

from api_schemas.errors import NotFound
from client import Truthtune


def test_a_round_runs_from_reports_to_receipts(
    people: People, undisturbed: SettledRound, tmp_path: Path
) -> None:
    """In less than a minute on 2 cores that do nothing else; a loaded machine may be slower."""
    settled, job = undisturbed.round, undisturbed.job
    print(f"\na whole round took {undisturbed.seconds:.1f} s")
    assert job.status == "succeeded", job.error
    assert settled.state == "settled"
    assert all(stage.digest for stage in job.stages if stage.name != "settle")

    outcome = people.operator.rounds.outcome(settled.id)
    paid = {group.group_id: group for group in outcome.groups}
    invoices = people.invoices(settled.id)
    assert [invoice.group_id for invoice in invoices] == people.group_ids
    for group, invoice in zip(people.groups, invoices, strict=True):
        line = paid[invoice.group_id]
        assert line.payment is not None
        assert line.utility is not None
        assert line.utility >= 0
        assert invoice.amount_micro_units == floor(Fraction(line.payment) * 1_000_000)
        receipt = group.receipts.get(invoice.receipt_id)
        assert receipt.body.amount_micro_units == invoice.amount_micro_units
        assert receipt.body.adapter_digest == outcome.adapter_digest
        own = list(group.invoices.list())
        assert {each.group_id for each in own} == {invoice.group_id}
        assert [each.id for each in own if each.round_id == settled.id] == [invoice.id]
    _check_download(people.groups[0], settled.model_id, tmp_path)
    _check_privacy(people, settled.id, job.id, invoices[1].receipt_id)


def _check_download(group: Truthtune, model_id: str | None, folder: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from workers.base_models import prepare

    assert model_id is not None
    downloaded = group.models.download(model_id, folder / "adapter")
    base = AutoModelForCausalLM.from_pretrained(prepare("tiny-enumerable"))
    assert PeftModel.from_pretrained(base, downloaded).peft_config["default"].r == 16


def _check_privacy(people: People, round_id: str, job_id: str, receipt_id: str) -> None:
    first = people.groups[0]
    with pytest.raises(NotFound):
        first.receipts.get(receipt_id)
    own = first.rounds.outcome(round_id)
    assert [group.group_id for group in own.groups] == people.group_ids[:1]
    assert [world.world for world in own.worlds] == ["grand"]
    kinds = {event.type for event in first.jobs.events(job_id)}
    assert not kinds & {"training_step", "world_evaluated", "stage_progress", "warning"}
