"""A PEFT adapter in a folder, checked before it is sent: what the service couldn't use is named."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from api_schemas.errors import InvalidInput

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PICKLE = "adapter_model.bin"
_EXPECTED: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "task_type": ("SEQ_CLS",),
    "bias": ("none",),
    "use_dora": (False,),
    "lora_bias": (False,),
    "fan_in_fan_out": (False,),
    "alpha_pattern": ({},),
    "layer_replication": (None,),
    "trainable_token_indices": (None,),
    "use_qalora": (False,),
    # Others change the base's own weights when the adapter is made.
    "init_lora_weights": (True, False, "gaussian"),
}
_SCORE = "base_model.model.score.weight"
_HEADER_BYTES = 16 << 20


@dataclass(frozen=True)
class PeftFolder:
    """What of an adapter's configuration can't be told from its tensors."""

    weights: Path
    base_model: str
    lora_alpha: float
    use_rslora: bool


def read_peft_folder(folder: Path | str) -> PeftFolder:
    """Read `adapter_config.json` and the header of `adapter_model.safetensors`.

    Raises InvalidInput, naming the file, the field and its value, for anything but a LoRA adapter
    for sequence classification with one label.
    """
    path = Path(folder)
    config = _config(path / _CONFIG)
    for name, allowed in _EXPECTED.items():
        if config.get(name, allowed[0]) not in allowed:
            shown = " or ".join(map(repr, allowed))
            _refuse(path / _CONFIG, f"{name} is {config[name]!r}; the service takes {shown}")
    weights = path / _WEIGHTS
    if not weights.is_file():
        pickled = f"; {_PICKLE} is a pickle, which is never loaded" * (path / _PICKLE).exists()
        _refuse(weights, f"is not there{pickled}: save the adapter with safetensors")
    _require_one_label(weights)
    return PeftFolder(
        weights,
        str(config.get("base_model_name_or_path") or ""),
        _number(path / _CONFIG, config, "lora_alpha"),
        bool(config.get("use_rslora")),
    )


def _config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        _refuse(file, f"can't be read: {error.strerror}")
    except ValueError as error:
        _refuse(file, f"is not JSON: {error}")
    if not isinstance(config, dict):
        _refuse(file, "is not a JSON object")
    return config


def _number(file: Path, config: dict[str, Any], name: str) -> float:
    value = config.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(file, f"{name} is {value!r}, which is no number")
    return float(value)


def _require_one_label(weights: Path) -> None:
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length) if length <= _HEADER_BYTES else "")
            shape = header[_SCORE]["shape"]
        except KeyError:
            _refuse(weights, f"has no tensor {_SCORE}: train it with modules_to_save=['score']")
        except (ValueError, TypeError):
            _refuse(weights, "is not a safetensors file")
    if len(shape) != 2 or shape[0] != 1:
        _refuse(weights, f"{_SCORE} has shape {shape}: train the adapter with one label")


def _refuse(file: Path, reason: str) -> NoReturn:
    raise InvalidInput(f"{file}: {reason}", param="adapter")
