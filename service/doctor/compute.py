"""What computes: base models, Ray, memory, GPUs. Whatever loads torch or Ray is a process of its
own, so that the examination neither waits for more than it needs nor dies with it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from api_schemas.errors import TruthtuneError
from service.doctor.findings import Installation, Verdict, ok, warning, wrong
from workers.model_readiness import models_in, readiness, require_writer

_RAY = "import ray; print(ray.__version__)"
_RAY_CLUSTER = """
import json, logging, sys, ray
ray.init(address=sys.argv[1], logging_level=logging.ERROR, log_to_driver=False)
nodes = sum(node["Alive"] for node in ray.nodes())
print(json.dumps({"nodes": nodes, **ray.cluster_resources()}))
"""
_TORCH = "import torch; print(torch.__version__, torch.cuda.device_count())"
_START_SECONDS, _CONNECT_SECONDS = 120.0, 3.0
_INSTALL = "pip install 'truthtune[workers]'"
_GIB = 2**30
_OBJECT_STORE_BYTES = 2**29
"""What a local Ray is started with; with less of shared memory it uses a disk."""
_MEMORY_BYTES = 4 * _GIB
"""The object store, and the built-in model in float32 (0.5 GiB, with torch about 1 GiB a process)
in a coordinator's stage and two tasks."""


def base_model(name: str, for_rounds: bool) -> Verdict:
    prepare = f"truthtune base-model prepare {name}"
    unlist = f"take it out of TRUTHTUNE_{'' if for_rounds else 'REWARD_'}BASE_MODELS"
    if (models := models_in(Path(name).expanduser())) is not None:
        if models:
            return ok(f"{name} is a folder with {len(models)} models")
        return wrong(f"{name} is a folder without a model in it", f"put a model there, or {unlist}")
    try:
        found = readiness(name)
        if for_rounds and found != "to_fetch":
            require_writer(name)
    except (TruthtuneError, OSError, ValueError) as error:
        return wrong(" ".join(str(error).split()), unlist)
    if found == "ready":
        return ok(f"{name} is at hand")
    when = "fetched from the hub" if found == "to_fetch" else "converted"
    return warning(f"{name} will be {when} when it is first used", prepare)


def ray(subject: Installation) -> Verdict:
    address = subject.settings.ray_address
    if address is None:
        done = _run(_RAY)
        if done.returncode:
            return wrong(f"Ray can't be imported: {_last_line(done.stderr)}", _INSTALL)
        return ok(f"Ray {done.stdout.strip()} is installed; the coordinator starts a local one")
    remedy = "ray start --head --port=6379 there, or mend TRUTHTUNE_RAY_ADDRESS"
    if (reason := _refuses(address)) is not None:
        return wrong(f"no Ray at {address}: {reason}", remedy)
    done = _run(_RAY_CLUSTER, address)
    if done.returncode:
        told = f"something listens at {address}, but not to us: {_last_line(done.stderr)}"
        return wrong(told, "export RAY_AUTH_MODE and RAY_AUTH_TOKEN here as on the head")
    has = json.loads(done.stdout.splitlines()[-1])
    nodes, cores, gpus = (int(has.get(name, 0)) for name in ("nodes", "CPU", "GPU"))
    return ok(f"Ray at {address}: {nodes} nodes, {cores} cores, {gpus} GPUs")


def machine(subject: Installation) -> Verdict:
    """Enough for a local Ray; on a cluster it is the nodes that need it."""
    if subject.settings.ray_address is not None:
        return ok("the stages run on the Ray cluster")
    if sys.platform != "linux":
        return ok(f"{os.cpu_count()} cores; memory is looked at on Linux alone")
    shared, memory = shutil.disk_usage("/dev/shm").free, _available_memory()
    cores = len(os.sched_getaffinity(0))
    message = f"{cores} cores, {memory / _GIB:.1f} GiB memory, {shared / _GIB:.1f} GiB in /dev/shm"
    if memory < _MEMORY_BYTES:
        told = f"{message}: less memory than {_MEMORY_BYTES / _GIB:g} GiB"
        return warning(told, "end other programs, or use a cluster: TRUTHTUNE_RAY_ADDRESS")
    if shared < _OBJECT_STORE_BYTES:
        told = f"{message}: Ray will keep its objects on a disk"
        return warning(told, "mount -o remount,size=1G /dev/shm (docker: --shm-size=1g)")
    return ok(message)


def gpu(_: Installation) -> Verdict:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ok("none (no nvidia-smi): models run on the cores")
    listed = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    names = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    if listed.returncode or not names:
        reason = _last_line(listed.stdout + listed.stderr)
        return warning(f"nvidia-smi sees no GPU: {reason}", "mend NVIDIA's driver: nvidia-smi")
    done = _run(_TORCH)
    if done.returncode:
        return wrong(f"torch can't be imported: {_last_line(done.stderr)}", _INSTALL)
    version, seen = done.stdout.split()
    if int(seen) < len(names):
        return warning(
            f"there are {len(names)} GPUs, and torch {version} sees {seen}",
            "pip install --force-reinstall torch (a CUDA build that the driver knows)",
        )
    return ok(f"{', '.join(name.split(' (UUID')[0] for name in names)}; torch {version}")


def _refuses(address: str) -> str | None:
    """Why nothing listens at host:port, found in seconds: Ray itself tries for minutes."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        if parts.hostname is None or parts.port is None:
            return None  # `auto`, or another that only Ray understands
        socket.create_connection((parts.hostname, parts.port), _CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", program, *arguments]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_START_SECONDS, env=environment
        )
    except subprocess.TimeoutExpired:
        told = f"no answer in {_START_SECONDS:g} s"
        return subprocess.CompletedProcess(command, 1, stdout="", stderr=told)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def _available_memory() -> int:
    """Of this machine, or what is left of this container's limit (cgroup v2)."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kibibytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    free = int(kibibytes) * 1024
    limit, used = (Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit.exists() and (most := limit.read_text().strip()) != "max":
        free = min(free, int(most) - int(used.read_text()))
    return free
