"""Installations for the tests of `truthtune doctor`, and what a check must find in them."""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy.orm import Session

from service.database import Database
from service.doctor.findings import Installation, Verdict
from service.settings import Settings

Check = Callable[[Installation, Session], Verdict]


def local_installation(folder: Path) -> Installation:
    """Without a database; its secrets are files in its home."""
    settings = Settings(home=folder / "home")
    settings.home.mkdir()
    return Installation(settings, Database(settings.resolved_database_url))


def changed(subject: Installation, **settings: object) -> Installation:
    """The same with some settings of its own."""
    kept = subject.settings.model_dump(exclude_unset=True)
    return Installation(Settings.model_validate(kept | settings), subject.database)


def assert_wrong(found: Verdict, *words: str, status: str = "wrong") -> None:
    assert found.status == status, found
    assert found.remedy
    for word in words:
        assert word in f"{found.message} → {found.remedy}"


def assert_ok(found: Verdict) -> None:
    assert found.status == "ok", found


def in_session(check: Check, subject: Installation) -> Verdict:
    with subject.database.read() as session:
        return check(subject, session)
