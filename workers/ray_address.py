"""Is there a Ray at an address? Asked from outside: Ray itself tries for minutes before it says no,
and when a cluster that it knew is gone for a minute, it ends the whole process."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

_CONNECT_SECONDS = 3.0
_ANSWER_SECONDS = 120.0
"""To import Ray and to ask, on a busy machine."""
_ASK = """
import json, logging, sys, ray
ray.init(address=sys.argv[1], logging_level=logging.ERROR, log_to_driver=False)
nodes = sum(node["Alive"] for node in ray.nodes())
print(json.dumps({"nodes": nodes, **ray.cluster_resources()}))
"""


@dataclass(frozen=True)
class Said:
    """What a program of its own wrote; `failure` is its last word if it failed, or was too slow."""

    text: str
    failure: str | None


def refusal(address: str) -> str | None:
    """Why nothing listens at host:port, found in seconds; None if something does."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        if parts.hostname is None or parts.port is None:
            return None  # `auto`, or another that only Ray understands
        socket.create_connection((parts.hostname, parts.port), _CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def resources(address: str, seconds: float = _ANSWER_SECONDS) -> dict[str, float] | str:
    """What the cluster has (`nodes`, `CPU`, `GPU` …), or why it doesn't say.

    A process of its own asks, for one that Ray keeps waiting can't be interrupted.
    """
    said = run_python(["-c", _ASK, address], seconds)
    if said.failure is not None:
        return said.failure
    found: dict[str, float] = json.loads(said.text.splitlines()[-1])
    return found


def run_python(arguments: list[str], seconds: float) -> Said:
    """Run this Python with these arguments for so long at most."""
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            timeout=seconds,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return Said("", f"no answer in {seconds:g} s")
    return Said(done.stdout, last_line(done.stderr) if done.returncode else None)


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
