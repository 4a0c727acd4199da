"""What a machine has room for: Ray's cores and GPUs, memory, and what a base model takes of it."""

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from safetensors import SafetensorError

from api_schemas.errors import ClusterUnfit, TruthtuneError
from workers.machine_memory import GIB, free_memory, gpu_memory, held_by
from workers.model_size import BYTES_ON_A_CPU, BYTES_ON_A_GPU, weight_count

_PROCESS_BYTES = GIB
"""Of a worker beside the weights: torch, transformers and Ray hold half of it, a batch the rest."""


@dataclass(frozen=True)
class Room:
    """What one node has for work. Memory in bytes, None where it isn't looked at; `weights` are the
    numbers of each base model as its files there say, None where they must be fetched first."""

    node: str
    cores: int
    gpus: int
    memory: int | None
    gpu_memory: tuple[int, ...]
    weights: Mapping[str, int | None]


def require_room(rooms: Sequence[Room], base_models: Sequence[str], *, require_gpu: bool) -> None:
    """Raises ClusterUnfit, with the setting or field at fault, if work would find no place.

    Memory is compared with what one process needs that holds the weights: more is not known before
    it runs, so work that is let in may still run out of it.
    """
    workers = [room for room in rooms if room.cores or room.gpus]
    if not workers:
        raise ClusterUnfit(
            f"none of the Ray cluster's {len(rooms)} nodes has a core or a GPU for work: start one "
            "without --num-cpus 0",
            code="no_workers",
        )
    with_gpus = [room for room in workers if room.gpus]
    if require_gpu and not with_gpus:
        raise ClusterUnfit(
            f"TRUTHTUNE_REQUIRE_GPU is true, and none of the {len(workers)} nodes that work has a "
            "GPU: start one with a GPU, or set TRUTHTUNE_REQUIRE_GPU=false",
            code="no_gpu",
        )
    for room in with_gpus or workers:
        for base_model in base_models:
            _require_memory(room, base_model, bool(with_gpus))


def _require_memory(room: Room, base_model: str, on_gpus: bool) -> None:
    weights = room.weights.get(base_model)
    if weights is None:
        return
    if on_gpus:
        needed, kind = weights * BYTES_ON_A_GPU, "bfloat16"
        has, of_what = min(room.gpu_memory, default=needed), "the smallest GPU"
    else:
        needed, kind = weights * BYTES_ON_A_CPU + _PROCESS_BYTES, "float32, with its process"
        has, of_what = room.memory or needed, "free memory"
    if needed > has:
        raise ClusterUnfit(
            f"base_model {base_model!r} takes {needed / GIB:.1f} GiB in {kind}, and node "
            f"{room.node} has {has / GIB:.1f} GiB ({of_what}): give the node more, keep it from "
            "work (--num-cpus 0 --num-gpus 0), or announce a smaller base model",
            code="too_little_memory",
            param="base_model",
        )


def look_here(cores: int, gpus: int, base_models: Sequence[str]) -> Room:
    """The room of this machine, of which Ray has so many cores and GPUs."""
    return Room(
        node=platform.node(),
        cores=cores,
        gpus=gpus,
        memory=_memory(),
        gpu_memory=tuple(gpu_memory()) if gpus else (),
        weights={name: _weight_count(name) for name in base_models},
    )


def known_to_all(rooms: Sequence[Room], weights: Mapping[str, int | None]) -> list[Room]:
    """The rooms, each with what is known here of base models that its node has yet to fetch."""
    known = {name: count for name, count in weights.items() if count is not None}
    return [replace(room, weights=_filled(room.weights, known)) for room in rooms]


def _filled(weights: Mapping[str, int | None], known: Mapping[str, int]) -> dict[str, int | None]:
    return {name: known.get(name) if count is None else count for name, count in weights.items()}


def _memory() -> int | None:
    """Ray's idle workers may hold this very model, and end if room is needed: theirs is free."""
    return free_memory() + held_by("ray::IDLE") if sys.platform == "linux" else None


def rooms_as_json(rooms: Sequence[Room]) -> str:
    return json.dumps([asdict(room) for room in rooms])


def rooms_from_json(text: str) -> list[Room]:
    return [Room(**{**each, "gpu_memory": tuple(each["gpu_memory"])}) for each in json.loads(text)]


def _weight_count(name: str) -> int | None:
    try:
        return weight_count(name)
    except (TruthtuneError, OSError, ValueError, SafetensorError):
        return None  # loading it will say what is wrong
