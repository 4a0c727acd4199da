"""Drawings that a job's stages left."""

from api_schemas.errors import Conflict, NotFound
from api_schemas.jobs import Job
from workers.artifacts import ArtifactStore


def reward_drift(artifacts: ArtifactStore, job: Job) -> str:
    """The digest of the training's reward-drift graph, an SVG.

    Raises Conflict until the training is done, and NotFound if it drew none.
    """
    train = next((stage for stage in job.stages if stage.name == "train"), None)
    if train is None:
        raise NotFound(f"job {job.id}, of kind {job.kind!r}, has no stage 'train' of its own")
    if train.digest is None:
        raise Conflict(
            f"stage 'train' of job {job.id} is {train.status}; it draws its graph when it is done",
            code="stage_not_done",
        )
    trained = artifacts.get_json(train.digest)
    plots = trained.get("plots", {}) if isinstance(trained, dict) else {}
    if "reward_drift" not in plots:
        raise NotFound(f"the training of job {job.id} drew no reward-drift graph")
    return str(plots["reward_drift"])
