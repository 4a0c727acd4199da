"""The delivered adapter's probabilities of the pool's responses."""

import json
from contextlib import closing
from pathlib import Path

from safetensors.torch import load_file

from api_schemas.errors import InvalidInput
from workers.base_models import BaseModel
from workers.decoder import Decoder
from workers.mechanism.arrays import Floats
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.pool import Pool
from workers.training.stacked_lora import StackedAdapters

_PLAIN = {"use_rslora": False, "use_dora": False, "fan_in_fan_out": False, "bias": "none"}


def log_probs(base: BaseModel, folder: Path, pool: Pool) -> tuple[Floats, Floats]:
    """(log π_θ, log π₀) of the pool's responses, nats, each of shape (X, J).

    Raises InvalidInput for an adapter that isn't plain LoRA.
    """
    with closing(_attached(base, folder)) as adapters:
        found = ResponseLogProbs(
            Decoder(base.model), adapters, pool.prompt_tokens, pool.tokens_XJT, pool.lengths_XJ
        )
        log_base_XJ, log_theta_XJ = found([None, 0]).numpy()
    return log_theta_XJ, log_base_XJ


def _attached(base: BaseModel, folder: Path) -> StackedAdapters:
    """As the adapter's own files say, which PEFT reads too."""
    config = json.loads((folder / "adapter_config.json").read_text())
    for name, plain in _PLAIN.items():
        if config.get(name, plain) != plain:
            raise InvalidInput(f"{folder}: {name} is {config[name]!r}, expected was {plain!r}")
    layers = len(base.model.model.layers)
    adapters = StackedAdapters(
        base.model,
        worlds=1,
        rank=config["r"],
        scaling=config["lora_alpha"] / config["r"],
        top_layers=layers - min(config["layers_to_transform"]),
        seed=0,
    )
    try:
        adapters.load_world_state(0, load_file(folder / "adapter_model.safetensors"))
    except BaseException:
        adapters.close()
        raise
    return adapters
