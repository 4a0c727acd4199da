"""Processes and machines of a Ray that die: by whose fault, and under which name it ends."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import ray_poison
from conftest import TASTES, TinyRound

from api_schemas.errors import RoundFailed
from service.failures import WORKER_DIED, name_failure
from workers import cluster as cluster_module
from workers.cluster import Cluster
from workers.stages.score import Scores

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
POISONED: dict[str, Any] = {
    "type": "lexical",
    "features": [{"type": "keywords", "words": ["red", ray_poison.WORD], "weight": 1.0}],
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Its processes are poisoned as `ray_poison` says."""
    path = os.pathsep.join([str(Path(ray_poison.__file__).parent), str(Path.cwd())])
    environment = {
        "worker_process_setup_hook": "ray_poison.install",
        "env_vars": {"PYTHONPATH": path},
    }
    poisoned = partial(ray.init, runtime_env=environment)
    monkeypatch.setattr(cluster_module.ray, "init", poisoned)
    running = Cluster(str(tmp_path))
    running.start()
    yield running
    running.shutdown()


def test_a_report_that_kills_its_workers_is_excluded_or_fails_the_round_by_name(
    cluster: Cluster, tmp_path: Path
) -> None:
    tastes = [TASTES[0], POISONED, TASTES[2]]
    made = TinyRound(tmp_path, tastes=tastes)
    for stage in ("fit_rewards", "sample_pool", "score"):
        made.digests[stage] = cluster.run_stage(
            stage, made.job, made.digests, made.events.append, lambda: False
        )
    scores = Scores.load(made.artifacts, made.digests["score"])
    victim = made.job.reports[1].group_id
    assert list(scores.excluded) == [victim]
    assert "its process died 4 times" in scores.excluded[victim]
    assert [group.group_id for group in scores.groups] == [
        report.group_id for report in made.job.reports if report.group_id != victim
    ]
    strict = TinyRound(tmp_path, tastes=tastes, on_bad_report="fail")
    strict.digests = {name: made.digests[name] for name in ("fit_rewards", "sample_pool")}
    with pytest.raises(RoundFailed) as failed:
        cluster.run_stage("score", strict.job, strict.digests, strict.events.append, lambda: False)
    assert failed.value.code == "bad_report"


def test_the_death_of_a_node_ends_the_stage_by_name_and_a_new_cluster_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    endless = {"steps": 100_000, "top_layers": None, "learning_rate": 1e-4, "patience": 100_000}
    made = TinyRound(tmp_path, training=endless)
    made.run("fit_rewards", "sample_pool", "score", "solve")
    killed: list[str] = []

    def kill_the_node() -> bool:
        """Called while the stage runs: the raylet is the node, and its workers die with it."""
        if not killed and any(event.type == "training_step" for event in made.events):
            for child in psutil.Process().children(recursive=True):
                if child.name() == "raylet":
                    child.kill()
                    killed.append(child.name())
        return False

    with pytest.raises(Exception) as died:  # noqa: PT011 (its class is Ray's affair)
        cluster.run_stage("train", made.job, made.digests, made.events.append, kill_the_node)
    assert killed == ["raylet"]
    assert name_failure(died.value) == WORKER_DIED
    cluster.shutdown()
    cluster.start()
    digest = cluster.run_stage("solve", made.job, made.digests, made.events.append, lambda: False)
    assert digest == made.digests["solve"]
