"""An adapter merged into its base model's files: W + s·B·A, a file of weights at a time.

All but the weights is the base's own files, byte for byte: the tokenizer, its chat template, the
configuration. The weights keep the base's names, files and dtype; the sum is taken in float32.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from api_schemas.errors import InvalidInput
from workers.base_models import model_files

_PEFT_PREFIX = "base_model.model."


def merge(
    name: str, base: Path, adapter: Mapping[str, Tensor], scaling: float, target: Path
) -> list[Path]:
    """Write the merged model into the folder `target`; its files, as `model_files` orders them.

    `adapter` is under PEFT's names. Raises InvalidInput (`base_model`) if the base's files lack a
    weight that it changes.
    """
    from safetensors.torch import load_file, save_file

    modules = sorted({key.rsplit(".lora_", 1)[0] for key in adapter})
    left = {f"{each.removeprefix(_PEFT_PREFIX)}.weight": each for each in modules}
    for file in model_files(name, base):
        if file.suffix != ".safetensors":
            shutil.copyfile(file, target / file.name)
            continue
        tensors = load_file(file)
        for key in sorted(left.keys() & tensors.keys()):
            module = left.pop(key)
            a_ri, b_or = (adapter[f"{module}.lora_{kind}.weight"] for kind in "AB")
            weight = tensors[key]
            tensors[key] = (weight.float() + scaling * (b_or @ a_ri)).to(weight.dtype)
        save_file(tensors, target / file.name, metadata={"format": "pt"})
    if left:
        raise InvalidInput(
            f"base_model {name!r} keeps no weight {min(left)!r} in its files: an adapter can't be "
            "merged into it",
            code="unsupported_base_model",
            param="base_model",
        )
    return model_files(name, target)
