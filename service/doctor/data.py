"""The database: does it answer, is its schema this version's, is what waits in it taken up?"""

from datetime import timedelta
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

import migrations
from api_schemas.errors import TruthtuneError
from service.database import database_now
from service.doctor import repository
from service.doctor.findings import Installation, Verdict, ok, warning, wrong
from service.webhooks import claims

_MOST_SKEW = timedelta(seconds=2)
"""Below the shortest thing that is timed by two clocks: a heartbeat is renewed every 5 s."""
_PATIENCE = timedelta(minutes=10)
"""A coordinator looks every second: what is not taken up for so long, nobody takes up."""
_START = "truthtune up, or truthtune coordinator beside a service that runs"


def database(subject: Installation) -> Verdict:
    known = subject.database
    place = known.url.render_as_string(hide_password=True)
    if known.is_sqlite and not Path(known.url.database or "").exists():
        return wrong(f"there is no database yet: {place}", "truthtune db upgrade")
    try:
        with known.read() as session:
            database_now(session)
            migrations.current_revision(known)
    except (SQLAlchemyError, TruthtuneError) as error:
        reason = str(getattr(error.__cause__, "orig", None) or getattr(error, "orig", error))
        remedy = (
            _mend_sqlite(str(known.url.database)) if known.is_sqlite else _mend_server(known.url)
        )
        return wrong(f"{place} does not answer: {' '.join(reason.split())}", remedy)
    return ok(f"{place} answers")


def schema(subject: Installation) -> Verdict:
    current, needed = migrations.current_revision(subject.database), migrations.head_revision()
    if current == needed:
        return ok(f"version {current}, the one that is needed")
    if not migrations.is_known(current):
        return wrong(
            f"the schema is of version {current}, which this version of Truthtune doesn't know",
            "pip install --upgrade truthtune",
        )
    return wrong(f"version {current or 'none'}, needed is {needed}", "truthtune db upgrade")


def clock(subject: Installation) -> Verdict:
    with subject.database.read() as session:
        before = subject.machine_now()
        there = database_now(session)
        after = subject.machine_now()  # the question itself may take its time
    skew = max(before - there, there - after, timedelta(0))
    seconds = skew.total_seconds()
    if skew > _MOST_SKEW:
        message = f"the database's clock and this machine's are {seconds:.1f} s apart"
        return warning(message, "timedatectl set-ntp true (on both machines)")
    return ok(f"{seconds:.1f} s between the database's clock and this machine's")


def jobs(_: Installation, session: Session) -> Verdict:
    now = database_now(session)
    found = repository.waiting_since(session, now)
    if found is None or now - found[1] < _PATIENCE:
        return ok("no job waits for longer than ten minutes")
    waited = f"{found[0]} waits since {found[1]:%Y-%m-%d %H:%M} UTC"
    if repository.any_job_held(session, now):
        return ok(f"{waited}, while a coordinator works on another")
    return warning(f"{waited}, and no coordinator works", _START)


def webhooks(_: Installation, session: Session) -> Verdict:
    if claims.any_due(session, database_now(session) - _PATIENCE):
        return warning("a message is due for ten minutes, and nobody delivers it", _START)
    return ok("no message is due for longer than ten minutes")


def _mend_sqlite(path: str) -> str:
    return f"sqlite3 {path} 'PRAGMA integrity_check', and see who else has it open: fuser {path}"


def _mend_server(url: URL) -> str:
    server = f"-h {url.host or 'localhost'} -p {url.port or 5432}"
    return f"pg_isready {server}; start it, or mend TRUTHTUNE_DATABASE_URL"
