"""Fresh migrated databases of one kind, as many as a test wants."""

import itertools
import shutil
from pathlib import Path

import psycopg
from sqlalchemy import make_url

import migrations
from service.database import Database

_numbers = itertools.count()


class Databases:
    """Copies of `sqlite_template`, or of the database `template` of a PostgreSQL server."""

    def __init__(self, kind: str, folder: Path, sqlite_template: Path, postgres_url: str | None):
        self.kind, self._folder, self._postgres_url = kind, folder, postgres_url
        self._sqlite_template = sqlite_template

    def new(self) -> str:
        """The URL of another one."""
        name = f"reliability_{next(_numbers)}"
        if self._postgres_url is None:
            path = self._folder / f"{name}.db"
            shutil.copy(self._sqlite_template, path)
            return f"sqlite:///{path}"
        copy = f"CREATE DATABASE {name} TEMPLATE template STRATEGY FILE_COPY"
        execute(self._postgres_url, copy)
        return database_url(self._postgres_url, name)

    def drop(self, url: str) -> None:
        """Let a test make hundreds without filling the disk."""
        name = make_url(url).database or ""
        if self._postgres_url is None:
            Path(name).unlink()
        else:
            execute(self._postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def migrate(url: str) -> None:
    database = Database(url)
    migrations.upgrade(database)
    database.dispose()


def database_url(admin_url: str, name: str) -> str:
    url = make_url(admin_url).set(drivername="postgresql+psycopg", database=name)
    return url.render_as_string(hide_password=False)


def execute(admin_url: str, *statements: str) -> None:
    with psycopg.connect(admin_url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]
