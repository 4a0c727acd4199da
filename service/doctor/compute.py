"""What computes: base models, Ray, memory, GPUs. Whatever loads torch or Ray is a process of its
own, so that the examination neither waits for more than it needs nor dies with it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from api_schemas.errors import ClusterUnfit, TruthtuneError
from service.doctor.findings import Installation, Verdict, ok, warning, wrong
from workers.machine_memory import GIB, free_memory, gpu_memory
from workers.model_readiness import models_in, readiness, require_writer
from workers.ray_address import Said, last_line, refusal, resources, run_python
from workers.room import look_here, require_room, rooms_from_json

_RAY = "import ray; print(ray.__version__)"
_TORCH = "import torch; print(torch.__version__, torch.cuda.device_count())"
_START_SECONDS = 120.0
_INSTALL = "pip install 'truthtune[workers]'"
_SEE_RAY = "mend what the line `ray` says, and run doctor again"
_OBJECT_STORE_BYTES = 2**29
"""What a local Ray is started with; with less of shared memory it uses a disk."""
_MEMORY_BYTES = 4 * GIB
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
        said = _run(_RAY)
        if said.failure:
            return wrong(f"Ray can't be imported: {said.failure}", _INSTALL)
        return ok(f"Ray {said.text.strip()} is installed; the coordinator starts a local one")
    remedy = "ray start --head --port=6379 there, or mend TRUTHTUNE_RAY_ADDRESS"
    if (reason := refusal(address)) is not None:
        return wrong(f"no Ray at {address}: {reason}", remedy)
    has = resources(address, _START_SECONDS)
    if isinstance(has, str):
        told = f"something listens at {address}, but not to us: {has}"
        return wrong(told, "export RAY_AUTH_MODE and RAY_AUTH_TOKEN here as on the head")
    nodes, cores, gpus = (int(has.get(name, 0)) for name in ("nodes", "CPU", "GPU"))
    return ok(f"Ray at {address}: {nodes} nodes, {cores} cores, {gpus} GPUs")


def room(subject: Installation) -> Verdict:
    """As a job finds it before its first stage, for each base model that a round may announce."""
    settings = subject.settings
    models = [name for name in settings.base_model_names if models_in(Path(name)) is None]
    if settings.ray_address is None:
        rooms = [look_here(os.cpu_count() or 1, len(gpu_memory()), models)]
    else:
        asked = ["-m", "workers.cluster_room", settings.ray_address, *models]
        said = run_python(asked, _START_SECONDS)
        if said.failure:
            return wrong(f"the nodes don't say what they have: {said.failure}", _SEE_RAY)
        rooms = rooms_from_json(said.text.splitlines()[-1])
    try:
        require_room(rooms, models, require_gpu=settings.require_gpu)
    except ClusterUnfit as error:
        found, _, remedy = error.message.partition(": ")
        return wrong(found, remedy)
    return ok(f"room for {', '.join(models) or 'work'} on each node that works")


def machine(subject: Installation) -> Verdict:
    """Enough for a local Ray; on a cluster it is the nodes that need it."""
    if subject.settings.ray_address is not None:
        return ok("the stages run on the Ray cluster")
    if sys.platform != "linux":
        return ok(f"{os.cpu_count()} cores; memory is looked at on Linux alone")
    shared, memory = shutil.disk_usage("/dev/shm").free, free_memory()
    cores = len(os.sched_getaffinity(0))
    message = f"{cores} cores, {memory / GIB:.1f} GiB memory, {shared / GIB:.1f} GiB in /dev/shm"
    if memory < _MEMORY_BYTES:
        told = f"{message}: less memory than {_MEMORY_BYTES / GIB:g} GiB"
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
        reason = last_line(listed.stdout + listed.stderr)
        return warning(f"nvidia-smi sees no GPU: {reason}", "mend NVIDIA's driver: nvidia-smi")
    said = _run(_TORCH)
    if said.failure:
        return wrong(f"torch can't be imported: {said.failure}", _INSTALL)
    version, seen = said.text.split()
    if int(seen) < len(names):
        return warning(
            f"there are {len(names)} GPUs, and torch {version} sees {seen}",
            "pip install --force-reinstall torch (a CUDA build that the driver knows)",
        )
    return ok(f"{', '.join(name.split(' (UUID')[0] for name in names)}; torch {version}")


def _run(program: str) -> Said:
    return run_python(["-c", program], _START_SECONDS)
