"""One trace from the request over the coordinator's process to every task on Ray."""

from conftest import PROMPTS, People, SettledRound
from otlp_collector import Collector, Sent

from api_schemas.jobs import STAGES

SPREAD = ("run fit_rewards", "run sample_pool", "run score")
"""What stages that have tasks run on the cluster."""


def test_a_rounds_trace_leads_from_its_close_to_the_tasks_and_training_workers(
    undisturbed: SettledRound, collector: Collector
) -> None:
    spans = _of_the_trace(collector, undisturbed.job.id)
    by_id = {span.id: span for span in spans}
    (request,) = (span for span in spans if span.process == "truthtune-api")
    (job,) = (span for span in spans if span.name == "job round")
    assert request.name == "POST /v1/rounds/{round_id}/close"
    assert (job.process, by_id[job.parent]) == ("truthtune-coordinator", request)
    stages = [span for span in spans if span.name.startswith("stage ")]
    assert sorted(span.name for span in stages) == sorted(f"stage {name}" for name in STAGES)
    assert {span.parent for span in stages} == {job.id}
    tasks = [span for span in spans if span.name.startswith("task ")]
    assert {by_id[task.parent].name for task in tasks} >= set(SPREAD)
    (worker,) = (span for span in spans if span.name == "training worker 0")
    assert by_id[worker.parent].name == "run train"
    assert {span.process for span in [*tasks, worker]} == {"truthtune-worker"}
    assert all(span.attributes["ray.node_id"] for span in [*tasks, worker])
    assert not any(span.failed for span in spans)


def test_no_span_holds_a_key_a_prompt_a_report_or_who_reported(
    undisturbed: SettledRound, people: People, collector: Collector
) -> None:
    assert _of_the_trace(collector, undisturbed.job.id)
    sent = b"".join(collector.bodies)
    for secret in (people.operator_key, *people.group_ids, *PROMPTS, "keywords"):
        assert secret.encode() not in sent, secret


def _of_the_trace(collector: Collector, job_id: str) -> list[Sent]:
    """The coordinator of the round has ended, so that all was sent."""
    job = collector.wait_for("job round", **{"truthtune.job_id": job_id})
    return [span for span in collector.spans if span.trace == job.trace]
