"""A coordinator in a process of its own that signs what it writes, to show who wrote what."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from fake_cluster import FakeCluster

from api_schemas.jobs import AnyJobInput, ProgressEvent, StageName
from service import coordinator
from service.settings import Settings
from workers.artifacts import ArtifactStore

_EVENTS, _PAUSE_SECONDS = 6, 0.01
SIGNED: tuple[StageName, ...] = ("fit_rewards", "sample_pool", "score", "solve")
"""The stages whose artifact names its maker; the others' are read by the settlement."""


class SigningCluster(FakeCluster):
    """Each stage tells of its work several times; events and artifacts name who made them."""

    def __init__(self, artifacts: ArtifactStore, name: str):
        super().__init__(artifacts)
        self._name = name

    def run_stage(
        self,
        stage: StageName,
        job: AnyJobInput,
        inputs: Mapping[StageName, str],
        on_event: Callable[[ProgressEvent], None],
        should_stop: Callable[[], bool],
    ) -> str:
        for number in range(_EVENTS):
            message = f"{stage}: {number} of {_EVENTS}"
            on_event(ProgressEvent(type="warning", message=message, data={"by": self._name}))
            time.sleep(_PAUSE_SECONDS)
            if should_stop():
                raise InterruptedError(stage)
        if stage in SIGNED:
            return self.artifacts.put_json({"stage": stage, "by": self._name})
        return super().run_stage(stage, job, inputs, on_event, should_stop)


def coordinate(settings: dict[str, Any], name: str) -> None:
    """Work until SIGTERM."""
    found = Settings.model_validate(settings)
    cluster = SigningCluster(ArtifactStore(found.resolved_artifacts_url), name)
    coordinator.run(found, cluster_factory=lambda _: cluster)
