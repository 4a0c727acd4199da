"""Runs in every process of a Ray: work stops at a gate, so that a test can end a node in the midst.

The file `gate` names where it stands: at `put`, where a task or a stage leaves something; at `get`,
where a task reads something; at `step`, before a training tells of its third step. Whoever comes
there leaves a file with the id of its node and waits until the gate is gone. Nothing here loads
torch, for most processes don't.
"""

import os
import time
from pathlib import Path
from typing import Any

FOLDER = "RAY_GATES_FOLDER"
STEP = 3


def install() -> None:
    from workers import ray_runner
    from workers.artifacts import ArtifactStore

    put, get, teller = ArtifactStore.put, ArtifactStore.get, ray_runner._teller

    def gated_put(self: Any, *arguments: Any) -> Any:
        _wait_at_the_gate("put")
        return put(self, *arguments)

    def gated_get(self: Any, *arguments: Any) -> Any:
        import ray

        if ray.get_runtime_context().get_actor_id() is None:  # a task, not the stage itself
            _wait_at_the_gate("get")
        return get(self, *arguments)

    def gated_teller(board: Any) -> Any:
        tell = teller(board)

        def gated_tell(event: Any) -> None:
            if event.type == "training_step" and event.data["step"] == STEP:
                _wait_at_the_gate("step")
            tell(event)

        return gated_tell

    ArtifactStore.put = gated_put  # type: ignore[method-assign]
    ArtifactStore.get = gated_get  # type: ignore[method-assign]
    ray_runner._teller = gated_teller


def _wait_at_the_gate(place: str) -> None:
    import ray

    folder = Path(os.environ[FOLDER])
    gate = folder / "gate"
    if gate.exists() and gate.read_text() == place:
        node = ray.get_runtime_context().get_node_id()
        (folder / f"waits-{node}-{os.getpid()}").touch()
        while gate.exists():
            time.sleep(0.05)
