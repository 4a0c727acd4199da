"""How much memory this machine, or this container, has for a model."""

import mmap
import shutil
import subprocess
from pathlib import Path

GIB = 2**30
_GPU_SECONDS = 10.0
_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes that new processes can have: of this machine, or what is left of this container's
    limit (cgroup v2). Pages that only cache files count as free, as the kernel counts them."""
    lines = _MEMINFO.read_text().splitlines()
    kibibytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    free = int(kibibytes) * 1024
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if limit.exists() and (most := limit.read_text().strip()) != "max":
        free = min(free, int(most) - int(used.read_text()) + _file_cache())
    return free


def gpu_memory() -> list[int]:
    """Bytes of each GPU that the driver sees, used or not; no torch is needed."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=_GPU_SECONDS)
    except subprocess.TimeoutExpired:
        return []
    # A driver that fails writes a sentence where the mebibytes should be.
    return [int(line) * 2**20 for line in said.stdout.splitlines() if line.strip().isdigit()]


def held_by(title: str) -> int:
    """Bytes of their own that processes hold whose title starts so; Linux alone."""
    return sum(_own_memory(process, title) for process in Path("/proc").glob("[0-9]*"))


def _own_memory(process: Path, title: str) -> int:
    try:
        if not (process / "cmdline").read_text(errors="replace").startswith(title):
            return 0
        _, resident, shared, *_ = (process / "statm").read_text().split()
    except OSError:  # it ended, or is another user's
        return 0
    return (int(resident) - int(shared)) * mmap.PAGESIZE


def _file_cache() -> int:
    """Pages of files that a container no longer uses, which its kernel drops for who needs room."""
    stat = _CGROUP / "memory.stat"
    lines = stat.read_text().splitlines() if stat.exists() else []
    return int(dict(line.split() for line in lines).get("inactive_file", 0))
