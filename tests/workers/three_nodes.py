"""A Ray of a head and three nodes on one machine, which can lose one while it works."""

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
import ray_gates
from conftest import TinyRound
from ray.cluster_utils import Cluster as Nodes

from workers import cluster as cluster_module
from workers.cluster import Cluster

WORKERS = 3
GATES = {
    "fit_rewards": ("put", 3),
    "sample_pool": ("put", 3),
    "score": ("get", 1),  # one report after the other
    "solve": ("put", 1),  # the stage itself, beside the head
    "train": ("step", 1),  # one tells for all
    "value": ("put", 3),
}
"""Where a stage is stopped, and how many processes come there."""
GATHER_SECONDS = 300.0
NODE: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False}
HEAD = {"num_cpus": 0, "include_dashboard": False}


class ThreeNodes:
    """The nodes, the cluster on them, and the gate that work is stopped at."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.gates, self.artifacts = folder / "gates", folder / "artifacts"
        self.gates.mkdir()
        path = os.pathsep.join([str(Path(ray_gates.__file__).parent), str(Path.cwd())])
        environment = {
            "worker_process_setup_hook": "ray_gates.install",
            "env_vars": {"PYTHONPATH": path, ray_gates.FOLDER: str(self.gates)},
        }
        monkeypatch.setattr(cluster_module.ray, "init", partial(ray.init, runtime_env=environment))
        self.nodes = Nodes(initialize_head=True, head_node_args=HEAD)
        self.complete()
        self.cluster = Cluster(
            str(self.artifacts), self.nodes.address, train_workers=WORKERS, resize_seconds=5
        )

    def complete(self) -> None:
        """Nodes come for those that died."""
        while len(self.nodes.worker_nodes) < WORKERS:
            self.nodes.add_node(**NODE)

    def kill(self, node: Any = None) -> None:
        """This node, or any; with all its processes, at once."""
        chosen = node or next(iter(self.nodes.worker_nodes))
        self.nodes.remove_node(chosen, allow_graceful=False)

    def run(self, made: TinyRound, stage: Any, *, kill: bool = False) -> str:
        """The stage's digest; with `kill` a node dies while it works on it."""
        if kill:
            self._close_gate(GATES[stage][0])
        closed = time.monotonic()

        def meanwhile() -> bool:
            if self._is_closed():
                assert time.monotonic() - closed < GATHER_SECONDS, "nobody came to the gate"
                self._kill_who_waits(stage)
            return False

        try:
            return self.cluster.run_stage(
                stage, made.job, dict(made.digests), made.events.append, meanwhile
            )
        finally:
            (self.gates / "gate").unlink(missing_ok=True)

    def _kill_who_waits(self, stage: str) -> None:
        """One that works, as soon as all wait; of the stage itself, which is safe, just one."""
        there = [file.name.split("-")[1] for file in self.gates.glob("waits-*")]
        if len(there) >= GATES[stage][1] and self._checkpoint_is_known(stage):
            workers = {node.node_id: node for node in self.nodes.worker_nodes}
            self.kill(next((workers[node] for node in there if node in workers), None))
            (self.gates / "gate").unlink()

    def _checkpoint_is_known(self, stage: str) -> bool:
        """Ray's controller writes it down a while after the workers left it."""
        known = self.artifacts.glob("training/*/checkpoint_manager_snapshot.json")
        return stage != "train" or any("checkpoint_" in file.read_text() for file in known)

    def _close_gate(self, place: str) -> None:
        for file in self.gates.glob("waits-*"):
            file.unlink()
        (self.gates / "gate").write_text(place)

    def _is_closed(self) -> bool:
        return (self.gates / "gate").exists()
