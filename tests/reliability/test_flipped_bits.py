"""A bit of a sealed report that someone flipped in the database is caught before it is computed
with. Those of the ledger's rows and of receipts are flipped where these are tested."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes import queue_job
from small_world import SmallWorld
from sqlalchemy import select, update
from sqlalchemy.orm import Session
from support import VAULT

from service.reports import repository
from service.tables import JobRow, ReportRow
from service.vault import DamagedSeal

FLIPS = 1000


@pytest.fixture
def world(sqlite_template: Path) -> Iterator[SmallWorld]:
    world = SmallWorld(sqlite_template)
    yield world
    world.close()


def test_a_thousand_flipped_bits_of_sealed_reports_are_caught(world: SmallWorld) -> None:
    """Of the ciphertext with its nonce and tag, and of the commitment beside it."""
    chance = random.Random(3)
    job_id = queue_job(world.database, world.groups)
    with world.database.read() as session:
        round_id = session.get_one(JobRow, job_id).round_id
        reports = session.scalars(select(ReportRow).where(ReportRow.round_id == round_id)).all()
    caught = 0
    for _ in range(FLIPS):
        report = chance.choice(reports)
        column = chance.choice(["sealed", "commitment"])
        flipped = _flip(getattr(report, column), chance)
        with world.database.engine.connect() as connection, Session(connection) as session:
            changed = update(ReportRow).where(ReportRow.id == report.id)
            session.execute(changed.values({column: flipped}))
            caught += _is_caught(session, round_id)  # and rolled back
    print(f"\n{caught} of {FLIPS} flipped bits of sealed reports were caught")
    assert caught == FLIPS
    with world.database.read() as session:
        assert len(repository.job_inputs(session, VAULT, round_id)) == len(reports)


def _flip(value: str | bytes, chance: random.Random) -> str | bytes:
    data = bytearray(value.encode() if isinstance(value, str) else value)
    # Of a text the four lower bits, so that it stays one that a database stores.
    bits = 4 if isinstance(value, str) else 8
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(bits)
    return data.decode() if isinstance(value, str) else bytes(data)


def _is_caught(session: Session, round_id: str) -> bool:
    try:
        repository.job_inputs(session, VAULT, round_id)
    except DamagedSeal:
        return True
    return False
