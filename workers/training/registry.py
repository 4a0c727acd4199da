"""The training methods by the name that an announcement uses."""

from collections.abc import Mapping

from workers.training.train_worlds import WorldsTrainer

TRAINERS: Mapping[str, type[WorldsTrainer]] = {"policy_gradient": WorldsTrainer}
"""A method trains all worlds of a `TrainingTask` and keeps each one's best state in `records`."""
