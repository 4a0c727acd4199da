"""What the commands of the control plane share: settings, the database, what they print."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from api_schemas.errors import TruthtuneError

if TYPE_CHECKING:
    from service.database import Database
    from service.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@contextmanager
def any_database() -> "Iterator[tuple[Settings, Database]]":
    """Settings and database of the environment; a failure that has a name becomes a line and exit
    status 1."""
    from sqlalchemy.exc import SQLAlchemyError

    from service.database import Database
    from service.failures import DATABASE_UNAVAILABLE, STORAGE_FULL, name_failure

    settings = checked_settings()
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        database = Database(settings.resolved_database_url)
    except OSError as error:
        give_up(f"TRUTHTUNE_HOME: {settings.home} can't be made: {error.strerror}")
    try:
        yield settings, database
    except TruthtuneError as error:
        give_up(error.message)
    except SQLAlchemyError as error:
        failure = name_failure(error)
        if failure not in (DATABASE_UNAVAILABLE, STORAGE_FULL):
            raise
        give_up(f"{failure.message}: {' '.join(str(getattr(error, 'orig', error)).split())}")
    finally:
        database.dispose()


def checked_settings() -> "Settings":
    from service.settings import load_settings

    try:
        return load_settings()
    except TruthtuneError as error:
        give_up(error.message)


def print_answer(as_object: dict[str, Any], text: str, as_json: bool) -> None:
    """What a command found, for a program or for a person."""
    typer.echo(json.dumps(as_object, indent=2, ensure_ascii=False) if as_json else text)


def give_up(reason: str) -> NoReturn:
    typer.echo(f"truthtune: {reason}", err=True)
    raise typer.Exit(1) from None


@contextmanager
def current_database() -> "Iterator[tuple[Settings, Database]]":
    import migrations

    with any_database() as (settings, database):
        migrations.require_current_schema(database)
        yield settings, database
