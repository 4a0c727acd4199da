"""Whether a cluster has what a job needs is known before anything of the job runs."""

import socket
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from api_schemas.errors import ClusterUnfit
from workers import cluster, machine_memory, ray_address, room, tiny_model
from workers.machine_memory import GIB
from workers.model_size import weight_count
from workers.room import Room, require_room, rooms_as_json, rooms_from_json

BILLION = 10**9
CPU_NODE = Room("one", 8, 0, 6 * GIB, (), {"small": BILLION, "large": 2 * BILLION})
GPU_NODE = Room("two", 8, 2, GIB, (24 * GIB, 3 * GIB), {"small": BILLION, "large": 2 * BILLION})
HEAD = Room("head", 0, 0, GIB, (), {})


def refused(rooms: list[Room], model: str = "small", require_gpu: bool = False) -> ClusterUnfit:
    with pytest.raises(ClusterUnfit) as found:
        require_room(rooms, [model], require_gpu=require_gpu)
    return found.value


def test_a_base_model_too_large_for_a_node_is_refused_with_both_sizes() -> None:
    """On a CPU 10⁹ float32 and a GiB for the process are 4.7 GiB, 2·10⁹ are 8.5."""
    require_room([CPU_NODE, HEAD], ["small"], require_gpu=False)
    error = refused([CPU_NODE, HEAD], "large")
    assert (error.code, error.param) == ("too_little_memory", "base_model")
    assert "'large' takes 8.5 GiB in float32" in error.message
    assert "node one has 6.0 GiB" in error.message


def test_with_gpus_the_smallest_of_their_memories_counts() -> None:
    """10⁹ bfloat16 are 1.9 GiB and 2·10⁹ are 3.7; the host's memory holds no model then."""
    require_room([CPU_NODE, GPU_NODE], ["small"], require_gpu=True)
    error = refused([CPU_NODE, GPU_NODE], "large")
    assert "'large' takes 3.7 GiB in bfloat16, and node two has 3.0 GiB" in error.message


def test_a_cluster_without_gpus_is_refused_where_one_is_required() -> None:
    require_room([CPU_NODE], ["small"], require_gpu=False)
    error = refused([CPU_NODE, HEAD], require_gpu=True)
    assert error.code == "no_gpu"
    assert "TRUTHTUNE_REQUIRE_GPU is true, and none of the 1 nodes that work" in error.message


def test_a_cluster_of_a_head_that_takes_no_work_is_refused() -> None:
    assert refused([HEAD]).code == "no_workers"
    assert refused([]).code == "no_workers"


def test_what_is_not_known_refuses_nothing() -> None:
    """A model that is yet to be fetched, a machine whose memory nobody can look at."""
    unknown = replace(CPU_NODE, weights={"small": None})
    require_room([unknown, replace(CPU_NODE, memory=None)], ["large"], require_gpu=False)


def test_rooms_survive_the_way_from_a_program() -> None:
    assert rooms_from_json(rooms_as_json([CPU_NODE, GPU_NODE])) == [CPU_NODE, GPU_NODE]


def test_weights_are_counted_by_the_headers_of_all_files(tmp_path: Path) -> None:
    """The tiny model by hand: 2 layers of 4·48² + 3·48·96 + 2·48, 2·6·48 for the vocabulary, and
    the last norm."""
    assert weight_count(tiny_model.NAME) == 2 * (4 * 48**2 + 3 * 48 * 96 + 96) + 2 * 6 * 48 + 48
    (tmp_path / "config.json").write_text("{}")
    for name, shapes in {"a": [(3, 4), (5,)], "b": [()]}.items():
        tensors = {f"t{place}": np.zeros(shape) for place, shape in enumerate(shapes)}
        save_file(tensors, tmp_path / f"{name}.safetensors", {"format": "pt"})
    assert weight_count(str(tmp_path)) == 3 * 4 + 5 + 1


def test_weights_that_can_t_be_read_are_for_the_loading_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\x08" + bytes(7) + b"no JSON!")
    here = room.look_here(2, 0, [str(tmp_path), "no/where/to/be/found"])
    assert here.weights == {str(tmp_path): None, "no/where/to/be/found": None}


def test_a_container_has_what_is_left_of_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 100 kB\nMemAvailable: 8388608 kB\n")
    monkeypatch.setattr(machine_memory, "_MEMINFO", meminfo)
    monkeypatch.setattr(machine_memory, "_CGROUP", tmp_path)
    assert machine_memory.free_memory() == 8 * GIB
    (tmp_path / "memory.max").write_text("max\n")
    assert machine_memory.free_memory() == 8 * GIB
    (tmp_path / "memory.max").write_text(f"{4 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{3 * GIB}\n")
    assert machine_memory.free_memory() == GIB
    (tmp_path / "memory.stat").write_text(f"anon 7\ninactive_file {2 * GIB}\n")
    assert machine_memory.free_memory() == 3 * GIB


def test_a_gpu_s_memory_is_the_driver_s_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine_memory.gpu_memory() == []
    program = tmp_path / "nvidia-smi"
    for said, found in {
        "24576\n3072": [24 * GIB, 3 * GIB],
        "NVIDIA-SMI has failed because it couldn't reach the driver": [],
    }.items():
        program.write_text(f'#!/bin/sh\necho "{said}"\n')
        program.chmod(stat.S_IRWXU)
        assert machine_memory.gpu_memory() == found


def test_an_address_where_nothing_listens_is_known_in_seconds() -> None:
    assert "refused" in str(ray_address.refusal("127.0.0.1:1"))
    assert "refused" in str(ray_address.refusal("ray://127.0.0.1:1"))
    assert ray_address.refusal("auto") is None
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert ray_address.refusal(f"127.0.0.1:{other.getsockname()[1]}") is None


def test_what_listens_and_says_nothing_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself would try for minutes, deaf to a cancellation."""
    (tmp_path / "ray.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert ray_address.resources("127.0.0.1:1", seconds=0.5) == "no answer in 0.5 s"
    (tmp_path / "ray.py").write_text("raise ConnectionError('token is missing')")
    assert "token is missing" in str(ray_address.resources("127.0.0.1:1"))


def test_a_cluster_away_for_longer_than_a_restart_takes_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before Ray notices, which ends the process after a minute."""
    now, reason = [1000.0], [""]
    monkeypatch.setattr(cluster.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(cluster.ray_address, "refusal", lambda _: reason[0] or None)
    watch = cluster._Watch("head:6379")

    def look(seconds: int, away: bool) -> None:
        reason[0] = "Connection refused" if away else ""
        for _ in range(seconds // 5):
            now[0] += 5.0
            watch.look()

    look(60, away=False)
    look(20, away=True)
    look(5, away=False)
    look(20, away=True)
    with pytest.raises(ClusterUnfit, match="'head:6379' was lost while it worked") as lost:
        look(5, away=True)
    assert (lost.value.code, watch.gone) == ("cluster_unreachable", True)
