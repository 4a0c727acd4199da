"""How much memory a base model's weights take, found without loading them."""

import json
import math
from pathlib import Path

from workers.base_models import is_hub_id, resolve, source_of
from workers.model_readiness import is_fetched

BYTES_ON_A_GPU, BYTES_ON_A_CPU = 2, 4
"""Of one number: bfloat16 on a GPU, float32 elsewhere (`workers.base_models.load`)."""
_LONGEST_HEADER = 100_000_000
"""Of the safetensors format."""


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
    """A safetensors file is the length of its header, eight bytes, and the header, in JSON."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(min(length, _LONGEST_HEADER)))
    tensors = (entry for key, entry in header.items() if key != "__metadata__")
    return sum(math.prod(tensor["shape"]) for tensor in tensors)
