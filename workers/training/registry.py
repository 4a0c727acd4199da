"""The training methods by the name that an announcement uses."""

from collections.abc import Mapping

from workers.training.natural_gradient import NaturalGradientTrainer
from workers.training.policy_gradient import PolicyGradientTrainer
from workers.training.pool_gradient import PoolGradientTrainer
from workers.training.train_worlds import WorldsTrainer

TRAINERS: Mapping[str, type[WorldsTrainer]] = {
    "policy_gradient": PolicyGradientTrainer,
    "pool_gradient": PoolGradientTrainer,
    "natural_gradient": NaturalGradientTrainer,
}
"""A method trains all worlds of a `TrainingTask` and keeps each one's best state in `records`."""
