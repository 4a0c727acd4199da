"""`kill -9` of API, coordinators and Ray's processes at random, while clients ask and ask again."""

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from campaigns import scaled
from databases import Databases
from findings import chain_faults_in
from fork_server import ForkServer
from killing import LEASE_SECONDS, Forked, Launcher, Real, RunningService, Victim
from lives import make_operator_key
from persistent_client import Clients
from sqlalchemy import func, select

from service.settings import Settings
from service.tables import InvoicePaymentRow, InvoiceRow, PostingRow

_RECOVERY_SECONDS = LEASE_SECONDS + 5


def test_random_kills_lose_and_double_nothing(
    databases: Databases, fork_server: ForkServer, tmp_path: Path
) -> None:
    """API and coordinators whose work is pretended; on a real Ray in the slow form."""
    launcher = Forked(fork_server, tmp_path / "service.log")
    _kill(launcher, databases, tmp_path, 3, ["api", "coordinator"], pause_seconds=0.4)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_two_hundred_random_kills_lose_and_double_nothing(
    databases: Databases, tmp_path: Path
) -> None:
    launcher = Real(tmp_path / "service.log")
    victims: list[Victim] = ["api", "api", "worker", "worker", "coordinator"]
    done = _kill(launcher, databases, tmp_path, scaled(200), victims, pause_seconds=12.0)
    print(f"\n{done}")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_random_kills_of_pretending_processes_lose_and_double_nothing(
    databases: Databases, fork_server: ForkServer, tmp_path: Path
) -> None:
    """Kills that follow closely, into processes that do little but commit."""
    launcher = Forked(fork_server, tmp_path / "service.log")
    done = _kill(
        launcher, databases, tmp_path, scaled(200), ["api", "coordinator"], pause_seconds=0.6
    )
    print(f"\n{done}")


def _kill(
    launcher: Launcher,
    databases: Databases,
    folder: Path,
    times: int,
    victims: Sequence[Victim],
    pause_seconds: float,
) -> str:
    """Asserts that nothing was lost; a line with the figures."""
    url = databases.new()
    key = make_operator_key(Settings(home=folder, database_url=url))
    running = RunningService(launcher, folder, url, seed=times)
    try:
        clients = Clients(running.url, key)
        thread = threading.Thread(target=clients.run)
        thread.start()
        while running.killed.total() < times:
            assert thread.is_alive(), (folder / "service.log").read_text()[-3000:]
            running.kill_one(victims, pause_seconds)
        clients.stop.set()
        thread.join(3600)
        assert not thread.is_alive()
        _check(running, clients)
    finally:
        running.stop()
    kinds = ", ".join(f"{count} {victim}" for victim, count in sorted(running.killed.items()))
    done = (
        f"random kills, {type(launcher).__name__.lower()} processes, {databases.kind}: "
        f"{running.killed.total()} ({kinds}) in {len(clients.told.settled)} rounds; "
        f"0 of {len(clients.told.reports)} reports lost, 0 invoices or payments lost or doubled, "
        f"chain verifies; slowest of {running.takeovers} takeovers "
        f"{running.slowest['coordinator']:.1f} s with leases of {LEASE_SECONDS:.0f} s, "
        f"slowest API {running.slowest['api']:.1f} s"
    )
    assert running.slowest["coordinator"] <= _RECOVERY_SECONDS, done
    return done


def _check(running: RunningService, clients: Clients) -> None:
    for name, report in clients.told.reports:
        path = f"/v1/rounds/{report['round_id']}/report"
        assert clients.get(path, clients.keys[name]) == report
    with running.database.read() as session:
        invoices = session.scalars(select(InvoiceRow)).all()
        paid = Counter(session.scalars(select(InvoicePaymentRow.id)))
        total = func.sum(PostingRow.amount_micro_units)
        entries = select(PostingRow.entry_key).group_by(PostingRow.entry_key)
        assert session.scalars(entries.having(total != 0)).all() == []
    billed = Counter((invoice.round_id, invoice.group_id) for invoice in invoices)
    reported = {(report["round_id"], report["group_id"]) for _, report in clients.told.reports}
    assert billed == Counter(reported)
    numbers = sorted(invoice.number or 0 for invoice in invoices)
    assert numbers == list(range(1, len(numbers) + 1))
    assert paid == Counter(clients.told.payments)
    assert chain_faults_in(running.database) == []
