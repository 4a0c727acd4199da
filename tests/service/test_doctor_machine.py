"""What `truthtune doctor` finds of a machine: settings, disks, Ray, GPUs, models; each broken for
real, and mended again."""

import shutil
import socket
import stat
from pathlib import Path

import pytest
from doctor_scenes import assert_ok, assert_wrong, changed, local_installation
from support import SEAL_KEY

from service.doctor import compute, configuration, storage
from service.doctor.findings import Installation
from workers import room
from workers.machine_memory import GIB
from workers.room import Room, rooms_as_json


@pytest.fixture
def local(tmp_path: Path) -> Installation:
    return local_installation(tmp_path)


def test_a_settings_file_with_secrets_that_others_may_read_is_wrong(
    local: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "truthtune.env"
    monkeypatch.setenv("TRUTHTUNE_SETTINGS_FILE", str(file))
    file.write_text(f"TRUTHTUNE_SEAL_KEY={SEAL_KEY}\n")
    file.chmod(0o640)
    assert_wrong(configuration.settings(local), str(file), f"chmod 600 {file}")
    file.chmod(0o600)
    assert_ok(configuration.settings(local))


def test_a_misspelt_variable_is_named_with_the_one_that_was_meant(
    local: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_ok(configuration.environment(local))
    monkeypatch.setenv("TRUTHTUNE_PROT", "8000")
    found = configuration.environment(local)
    assert_wrong(
        found, "TRUTHTUNE_PROT", "TRUTHTUNE_PORT", "unset TRUTHTUNE_PROT", status="warning"
    )


def test_a_home_that_is_no_folder_or_cannot_be_made_is_wrong(
    local: Installation, tmp_path: Path
) -> None:
    assert_ok(configuration.home(local))
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert_wrong(configuration.home(changed(local, home=blocked)), "is no folder")
    assert_wrong(configuration.home(changed(local, home=blocked / "below")), "mkdir -p")
    assert_ok(configuration.home(changed(local, home=tmp_path / "new")))
    assert not (tmp_path / "new").exists()


def test_a_port_is_free_or_another_programs(
    local: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "_ANSWER_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = changed(local, port=other.getsockname()[1])
        assert_wrong(configuration.port(taken), "another program", "TRUTHTUNE_PORT")
    assert_ok(configuration.port(taken))
    assert_wrong(configuration.port(changed(local, host="192.0.2.1")), "can't be listened on")


def test_an_inference_process_that_should_be_there_and_is_not_is_told(
    local: Installation, tmp_path: Path
) -> None:
    assert_ok(configuration.inference(local))
    away = changed(local, inference_url="http://127.0.0.1:1")
    assert_wrong(configuration.inference(away), "refused", "truthtune inference", status="warning")
    with socket.create_server(("127.0.0.1", 0)) as there:
        url = f"http://127.0.0.1:{there.getsockname()[1]}"
        assert_ok(configuration.inference(changed(local, inference_url=url)))
    deep = changed(local, home=tmp_path / ("deep" * 30))
    assert_wrong(configuration.inference(deep), "TRUTHTUNE_INFERENCE_URL=http://127.0.0.1")


def test_a_store_that_cannot_be_written_is_wrong(local: Installation, tmp_path: Path) -> None:
    assert_ok(storage.artifacts(local))
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    for url in (str(in_the_way), f"{in_the_way}/below", "/proc/artifacts", "nowhere://bucket"):
        found = storage.artifacts(changed(local, artifacts_url=url))
        assert_wrong(found, "TRUTHTUNE_ARTIFACTS_URL")
    kept = tmp_path / "artifacts"
    kept.mkdir()
    assert_ok(storage.artifacts(changed(local, artifacts_url=str(kept))))
    assert list(kept.iterdir()) == [], "what was tried is removed"
    assert_ok(storage.artifacts(changed(local, artifacts_url="memory://artifacts")))


def test_a_disk_with_too_little_room_is_told(local: Installation) -> None:
    assert_ok(storage.disk(changed(local, quota_file_bytes=1, max_upload_bytes=1)))
    free = shutil.disk_usage(local.settings.home).free
    few = changed(local, quota_file_bytes=2 * free, max_upload_bytes=1)
    assert_wrong(storage.disk(few), "GiB free", "truthtune artifacts collect", status="warning")
    none = changed(local, quota_file_bytes=2 * free, max_upload_bytes=2 * free)
    assert_wrong(storage.disk(none), "not enough", "truthtune artifacts collect")


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("tiny-enumerable", "ok", []),
        ("all-minilm-l6-v2", "wrong", ["can't write responses"]),
        ("an/absent-model", "warning", ["truthtune base-model prepare an/absent-model"]),
        ("/nowhere/model", "wrong", ["TRUTHTUNE_BASE_MODELS"]),
        ("no-such-model", "wrong", ["unknown"]),
    ],
)
def test_a_base_model_is_at_hand_or_it_is_told_what_is_missing(
    name: str, status: str, words: list[str]
) -> None:
    found = compute.base_model(name, for_rounds=True)
    assert_ok(found) if status == "ok" else assert_wrong(found, *words, status=status)
    assert_ok(compute.base_model("all-minilm-l6-v2", for_rounds=False))


def test_a_model_that_is_yet_to_be_converted_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUTHTUNE_MODEL_CACHE", str(tmp_path))
    found = compute.base_model("smollm2-135m-instruct", for_rounds=True)
    words = ["converted", "truthtune base-model prepare smollm2-135m-instruct"]
    assert_wrong(found, *words, status="warning")
    assert list(tmp_path.iterdir()) == [], "looking must not convert it"


def test_a_folder_of_models_must_hold_one(tmp_path: Path) -> None:
    assert_wrong(compute.base_model(str(tmp_path), True), "without a model")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "config.json").write_text("{}")
    assert_ok(compute.base_model(str(tmp_path), True))
    assert_wrong(compute.base_model(str(tmp_path / "one"), True), "no config.json with *.safe")


def test_ray_must_be_installed_and_its_cluster_reachable(
    local: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = changed(local, ray_address="127.0.0.1:1")
    assert_wrong(compute.ray(away), "127.0.0.1:1", "refused", "ray start --head")
    (tmp_path / "ray.py").write_text("raise ImportError('no wheel for this machine')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert_wrong(compute.ray(local), "no wheel for this machine", "pip install")
    with socket.create_server(("127.0.0.1", 0)) as other:
        not_ray = changed(local, ray_address=f"127.0.0.1:{other.getsockname()[1]}")
        assert_wrong(compute.ray(not_ray), "no wheel", "RAY_AUTH_TOKEN")
    (tmp_path / "ray.py").write_text("import sys; sys.exit(__import__('time').sleep(60))")
    monkeypatch.setattr(compute, "_START_SECONDS", 0.5)
    assert_wrong(compute.ray(local), "no answer in 0.5 s")


def test_a_machine_too_small_for_a_local_ray_is_told(
    local: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"_MEMORY_BYTES": ("less memory", "TRUTHTUNE_RAY_ADDRESS")}
    small["_OBJECT_STORE_BYTES"] = ("on a disk", "/dev/shm")
    for name, words in small.items():
        with monkeypatch.context() as patch:
            patch.setattr(compute, name, 2**60)
            assert_wrong(compute.machine(local), *words, status="warning")
            assert_ok(compute.machine(changed(local, ray_address="there:6379")))


def test_a_base_model_or_a_gpu_that_no_node_has_room_for_is_told(
    local: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a job would find it. In place of a cluster there is one that says what it is told to."""
    tiny = changed(local, base_models="tiny-enumerable")
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    assert_ok(compute.room(tiny))
    with_gpu = changed(tiny, require_gpu=True)
    assert_wrong(compute.room(with_gpu), "TRUTHTUNE_REQUIRE_GPU is true", "=false")
    monkeypatch.setattr(room, "_memory", lambda: GIB)
    assert_wrong(compute.room(tiny), "'tiny-enumerable' takes 1.0 GiB", "smaller base model")
    monkeypatch.undo()
    nodes = [Room("far", 4, 0, 64 * GIB, (), {"tiny-enumerable": 10**11})]
    (tmp_path / "ray.py").write_text(f"print({rooms_as_json(nodes)!r}); raise SystemExit")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    there = changed(tiny, ray_address="there:6379")
    assert_wrong(compute.room(there), "takes 373.5 GiB", "node far has 64.0 GiB", "--num-cpus 0")
    (tmp_path / "ray.py").write_text("raise SystemExit('no cluster')")
    assert_wrong(compute.room(there), "no cluster")


def test_gpus_that_the_driver_or_torch_does_not_see_are_told(
    local: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert_ok(compute.gpu(local))
    program, torch = tmp_path / "nvidia-smi", tmp_path / "torch.py"

    def says(text: str, status: int = 0) -> None:
        program.write_text(f"#!/bin/sh\necho '{text}'\nexit {status}\n")
        program.chmod(stat.S_IRWXU)

    says("Failed to initialize NVML: Driver/library version mismatch", 18)
    assert_wrong(compute.gpu(local), "version mismatch", "driver", status="warning")
    says("GPU 0: NVIDIA H200 (UUID: GPU-1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for seen, status in ((0, "warning"), (1, "ok")):
        torch.write_text(f"__version__ = '2'\nclass cuda:\n    device_count = lambda: {seen}\n")
        assert compute.gpu(local).status == status
    torch.write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    assert_wrong(compute.gpu(local), "libcudart.so.13", "pip install")
