"""SIGKILL before and after every commit of a round's whole life; another process goes on."""

import itertools
import json
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from databases import Databases
from fail_points import Side
from findings import NOTHING_WRONG
from fork_server import ForkServer

LEASE_SECONDS = 0.6
_COMMITS_AT_LEAST = 30
"""Of one life: fewer would mean that most of it is not looked at."""


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_process_killed_at_a_commit_loses_nothing(
    databases: Databases, fork_server: ForkServer, tmp_path: Path, side: Side
) -> None:
    """A few of them; each in the slow form."""
    commits = range(7 if side == "before" else 12, _COMMITS_AT_LEAST, 14)
    assert _kill_at(commits, side, databases, fork_server, tmp_path) == len(commits)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_process_killed_at_any_commit_loses_nothing(
    databases: Databases, fork_server: ForkServer, tmp_path: Path, side: Side
) -> None:
    killed = _kill_at(itertools.count(1), side, databases, fork_server, tmp_path)
    assert killed >= _COMMITS_AT_LEAST
    print(
        f"\ncrash points, {databases.kind}, {side} the commit: killed at each of {killed} commits; "
        "0 reports lost, 0 invoices lost or doubled, ledger sums 0, chain verifies"
    )


def _kill_at(
    commits: Iterable[int],
    side: Side,
    databases: Databases,
    fork_server: ForkServer,
    folder: Path,
) -> int:
    """How many lives were killed; ends with the first that has fewer commits than its number."""
    killed = 0
    for number in commits:
        url, home = databases.new(), folder / f"home-{number}"
        home.mkdir()
        died = _live(fork_server, home, url, number, side)
        if died:
            assert not _live(fork_server, home, url, None, side)
            killed += 1
        assert json.loads((home / "findings.json").read_text()) == NOTHING_WRONG, number
        databases.drop(url)
        shutil.rmtree(home)
        if not died:
            break
    return killed


def _live(fork_server: ForkServer, home: Path, url: str, fail_at: int | None, side: Side) -> bool:
    """Whether it was killed."""
    settings: dict[str, Any] = {
        "home": str(home),
        "database_url": url,
        "lease_seconds": LEASE_SECONDS,
        "heartbeat_seconds": LEASE_SECONDS * 0.8,
        "poll_seconds": 0.05,
    }
    log = home.parent / f"{home.name}.log"
    status = fork_server.run("lives:live", log, settings=settings, fail_at=fail_at, side=side)
    assert status in (0, -signal.SIGKILL), log.read_text()[-3000:]
    return status != 0
