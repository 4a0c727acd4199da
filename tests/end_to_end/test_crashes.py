"""A coordinator that is killed with SIGKILL in every stage, against one that is left in peace."""

from pathlib import Path

import psutil
from conftest import People, SettledRound
from processes import Processes, eventually, kill

from api_schemas.jobs import STAGES, Job, StageName

_ENOUGH_SECONDS = 300  # nothing is measured: on a busy machine Ray alone may need a minute


def test_a_coordinator_killed_in_every_stage_gives_the_same_invoices_once(
    processes: Processes, people: People, undisturbed: SettledRound, tmp_path: Path
) -> None:
    opened = people.open_round(tmp_path)
    people.report(opened.id, tmp_path)
    job_id = people.operator.rounds.close(opened.id).job_id
    assert job_id is not None
    for stage in STAGES[:-1]:
        _kill_during(stage, job_id, processes, people)
    for fault in ("before_commit", "after_commit"):
        dying = processes.coordinator(dies_in=fault)
        dying.wait(_ENOUGH_SECONDS)
        assert dying.returncode == -9
        settled = people.operator.rounds.get(opened.id).state == "settled"
        assert settled == (fault == "after_commit")
    processes.coordinator()
    job = people.operator.jobs.get(job_id)
    assert job.status == "succeeded"
    assert job.attempts == len(STAGES) - 1 + 2

    assert _amounts(people, opened.id) == _amounts(people, undisturbed.round.id)
    receipts = [r for r in people.operator.receipts.list() if r.body.round_id == opened.id]
    assert len(receipts) == len(people.groups)
    numbers = sorted(invoice.number for invoice in people.operator.invoices.list())
    assert numbers == list(range(1, len(numbers) + 1))
    _adapters_are_equal(people, undisturbed.round.id, opened.id)


def _kill_during(stage: StageName, job_id: str, processes: Processes, people: People) -> None:
    """Start a coordinator, kill it while the stage runs, and see that Ray went with it."""
    before = _finished(people.operator.jobs.get(job_id))
    if stage == "train":
        orphans = _kill_behind_a_checkpoint(job_id, processes, people)
    else:
        dying = processes.coordinator(dies_in=stage)
        assert dying.wait(_ENOUGH_SECONDS) == -9, processes.log.read_text()[-3000:]
        orphans = processes.descendants()
    job = people.operator.jobs.get(job_id)
    after = _finished(job)
    assert before.items() <= after.items()
    assert stage not in after
    assert [each.name for each in job.stages if each.status == "running"] == [stage]
    # Ray's two agents of a node find out later that it is gone; they do no work.
    working = [p for p in orphans if p.is_running() and not p.name().endswith("Agent")]
    _, left = psutil.wait_procs(working, timeout=30)
    assert [p.name() for p in left if p.status() != psutil.STATUS_ZOMBIE] == []


def _kill_behind_a_checkpoint(
    job_id: str, processes: Processes, people: People
) -> list[psutil.Process]:
    """In the middle of training, which must go on from there."""
    coordinator = processes.coordinator()

    def has_begun() -> bool:
        assert coordinator.poll() is None, processes.log.read_text()[-3000:]
        return any(e.type == "world_evaluated" for e in people.operator.jobs.events(job_id))

    eventually(has_begun, _ENOUGH_SECONDS, "there is a checkpoint")
    return kill(coordinator)


def _finished(job: Job) -> dict[str, str]:
    return {stage.name: stage.digest for stage in job.stages if stage.digest is not None}


def _amounts(people: People, round_id: str) -> dict[str, int]:
    return {i.group_id: i.amount_micro_units for i in people.invoices(round_id)}


def _adapters_are_equal(people: People, one: str, other: str) -> None:
    models = {model.round_id: model for model in people.operator.models.list()}
    assert models[one].adapter_digest == models[other].adapter_digest
