"""How far a quote is from what the round then takes: both demo rounds, stage by stage, on Ray.

`python benchmarks/quote.py [tiny|smollm2] [PROMPTS] [STEPS]`: fewer prompts and steps than the
demo's, for a machine without the time.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import record

from api_schemas.jobs import STAGES, JobInput, QuoteJobInput, ReportInput, StageName
from api_schemas.quotes import Estimate, QuoteCreate, QuoteResult
from api_schemas.reward_models import PinnedInputs, PreferenceDataSpec
from api_schemas.rounds import Announcement
from client.demo.settings import SMOLLM2, TINY, DemoGroup, DemoRound
from workers import base_models
from workers.artifacts import ArtifactStore, canonical_json, sha256_of
from workers.cluster import Cluster

ROUNDS = {"tiny": ("tiny-enumerable", TINY), "smollm2": ("smollm2-135m-instruct", SMOLLM2)}
_FILE = "file_" + "0" * 26


def job_of(store: ArtifactStore, base_model: str, setup: DemoRound, less: list[int]) -> JobInput:
    """The demo's round, with only so many prompts and steps if `less` says so."""
    lines = setup.prompts.read_bytes().splitlines(keepends=True)
    changes = dict(setup.announcement)
    if less:
        lines = lines[: less[0]]
        changes["training"] = changes["training"] | {"steps": less[1], "evaluate_every": less[1]}
    rules = Announcement.model_validate(
        changes
        | {
            "base_model": base_model,
            "base_model_revision": base_models.resolve(base_model).revision,
            "prompts_file_id": _FILE,
            "prompts_sha256": store.put(b"".join(lines)),
        }
    )
    preferences = store.put(setup.preferences.read_bytes())
    reports = [
        _report(f"grp_{place:026d}", group, preferences) for place, group in enumerate(setup.groups)
    ]
    return JobInput(
        round_id="rnd_" + "0" * 26,
        announcement=rules,
        announcement_digest=sha256_of(canonical_json(rules.model_dump(mode="json"))),
        reports=reports,
    )


def _report(group_id: str, group: DemoGroup, preferences: str) -> ReportInput:
    fitted = PreferenceDataSpec.model_validate(
        {"type": "preference_data", "file_id": _FILE, "method": {"name": "tfidf_bradley_terry"}}
    )
    return ReportInput(
        group_id=group_id,
        size=group.size,
        reward_model=group.lexical or fitted,
        report_digest="sha256:" + "0" * 64,
        pinned=PinnedInputs(files={} if group.lexical else {_FILE: preferences}),
    )


def quoted(cluster: Cluster, store: ArtifactStore, job: JobInput) -> QuoteResult:
    asked = QuoteJobInput(
        quote_id="quo_" + "0" * 26,
        round_id=job.round_id,
        announcement=job.announcement,
        settings=QuoteCreate(groups=len(job.reports)),
        groups=len(job.reports),
    )
    digest = cluster.run_stage("calibrate", asked, {}, lambda event: None, lambda: False)
    return QuoteResult.model_validate(store.get_json(digest))


def taken(cluster: Cluster, job: JobInput) -> dict[str, float]:
    """Wall-clock seconds of every stage of the round itself."""
    digests: dict[StageName, str] = {}
    seconds: dict[str, float] = {}
    for stage in STAGES[:-1]:
        started = time.perf_counter()
        digests[stage] = cluster.run_stage(stage, job, digests, lambda event: None, lambda: False)
        seconds[stage] = time.perf_counter() - started
        print(f"{stage} took {seconds[stage]:.1f} s", flush=True)
    return seconds


def compared(name: str, less: list[int]) -> dict[str, Any]:
    """A cluster for the quote and another for the round, which so pays its own start."""
    base_model, setup = ROUNDS[name]
    with tempfile.TemporaryDirectory() as folder:
        store = ArtifactStore(folder)
        job = job_of(store, base_model, setup, less)
        load_before = os.getloadavg()[0]
        quote = _on_a_cluster(folder, lambda cluster: quoted(cluster, store, job))
        print(quote.model_dump_json(indent=1), flush=True)
        seconds = _on_a_cluster(folder, lambda cluster: taken(cluster, job))
        stored = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    stages = {each.stage: _figures(each.seconds, seconds[each.stage]) for each in quote.stages}
    return {
        "prompts": quote.prompts,
        "steps": job.announcement.training.gradient.steps,
        "trainings": quote.trainings,
        "load_average_before_and_after": [load_before, os.getloadavg()[0]],
        "calibration_seconds": quote.calibration_seconds,
        "start": quote.start.model_dump(),
        "stages": stages,
        "whole": _figures(quote.seconds, sum(seconds.values())),
        # Checkpoints are gone at the end.
        "stored_bytes_quoted_and_left": [
            sum(each.bytes for each in quote.storage if each.what != "checkpoints"),
            stored,
        ],
    }


def _on_a_cluster(folder: str, work: Any) -> Any:
    cluster = Cluster(folder)
    cluster.start()
    try:
        return work(cluster)
    finally:
        cluster.shutdown()


def _figures(estimate: Estimate, seconds: float) -> dict[str, Any]:
    return {
        "expected": estimate.expected,
        "range": [estimate.low, estimate.high],
        "took": seconds,
        "error": estimate.expected / seconds - 1,
        "within_range": estimate.low <= seconds <= estimate.high,
    }


def main() -> None:
    names = [sys.argv[1]] if len(sys.argv) > 1 else list(ROUNDS)
    less = [int(number) for number in sys.argv[2:4]]
    if len(less) == 1:
        sys.exit("give the number of steps too")
    suffix = f"_{'_'.join(sys.argv[1:])}" if len(sys.argv) > 1 else ""
    record(f"quote{suffix}", {name: compared(name, less) for name in names})


if __name__ == "__main__":
    main()
