"""What the nodes of a Ray cluster have room for, as each of them finds.

Run as a program, it tells `truthtune doctor` so: `python -m workers.cluster_room ADDRESS MODEL …`.
"""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from workers.ray_results import result
from workers.room import Room, look_here, rooms_as_json

_LOOK_SECONDS = 60.0
"""For a node to say what it has; one that doesn't is passed over: it may be ending."""


def cluster_rooms(base_models: Sequence[str]) -> list[Room]:
    """What each live node of the connected Ray has; the node itself looks."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    work = "GPU" if any(node["Resources"].get("GPU") for node in nodes) else "CPU"
    asked = [_ask(node, base_models if node["Resources"].get(work) else []) for node in nodes]
    answered, _ = ray.wait(asked, num_returns=len(asked), timeout=_LOOK_SECONDS)
    return list(_told(answered))


def _ask(node: Mapping[str, Any], base_models: Sequence[str]) -> Any:
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    cores, gpus = (int(node["Resources"].get(name, 0)) for name in ("CPU", "GPU"))
    look: Any = ray.remote(num_cpus=0, scheduling_strategy=there)(look_here)
    return look.remote(cores, gpus, list(base_models))


def _told(answered: Sequence[Any]) -> Iterator[Room]:
    for answer in answered:
        try:
            yield result(answer)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError:  # the node ended meanwhile: no work will find it
            continue


def main() -> None:
    address, *base_models = sys.argv[1:]
    ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    print(rooms_as_json(cluster_rooms(base_models)))


if __name__ == "__main__":
    main()
