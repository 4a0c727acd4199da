"""How much memory a base model's weights take, found without loading them."""

import math
from pathlib import Path

from safetensors import safe_open

from workers.base_models import is_hub_id, resolve, source_of
from workers.model_readiness import is_fetched

BYTES_ON_A_GPU, BYTES_ON_A_CPU = 2, 4
"""Of one number: bfloat16 on a GPU, float32 elsewhere (`workers.base_models.load`)."""


def weight_count(name: str) -> int | None:
    """How many numbers the weights are; None where they would have to be fetched or converted.

    Raises InvalidInput (`base_model`) if there is no such model here.
    """
    if is_hub_id(name) and not is_fetched(name):
        return None
    folder = source_of(name)
    if folder.suffix == ".gguf":
        folder = resolve(name).folder
    files = sorted(folder.glob("*.safetensors"))
    return sum(map(_numbers_in, files)) if files else None


def _numbers_in(file: Path) -> int:
    with safe_open(file, "np") as tensors:
        return sum(math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118 - no mapping
