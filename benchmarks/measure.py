"""What the benchmarks share: the model, and how a result is kept."""

import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from workers import base_models
from workers.base_models import BaseModel

NAME = "smollm2-135m-instruct"


def base_model() -> BaseModel:
    """SmolLM2-135M-Instruct on the device that is at hand."""
    revision = base_models.resolve(NAME).revision
    return base_models.load(NAME, revision, str(base_models.default_device()))


def record(name: str, figures: dict[str, Any]) -> None:
    """Print the figures, and keep them in `results/` under the device's name."""
    device = str(base_models.default_device())
    machine = torch.cuda.get_device_name() if device == "cuda" else _cpu()
    result = {"benchmark": name, "machine": machine, "torch": torch.__version__, **figures}
    print(json.dumps(result, indent=1))
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}-{device}.json").write_text(json.dumps(result, indent=1) + "\n")


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores"
