"""The database's schema, version by version, and the check that it is the one this code needs."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from api_schemas.errors import TruthtuneError
from service.database import Database
from service.vault import Vault


class SchemaOutOfDate(TruthtuneError):
    """The database has no schema, or one of another version (503)."""

    status = 503
    code = "schema_out_of_date"


class DatabaseUnreachable(TruthtuneError):
    """The database does not answer (503)."""

    status = 503
    code = "database_unreachable"


def upgrade(database: Database, revision: str = "head", vault: Vault | None = None) -> None:
    """Bring the schema to `revision`, whole or not at all.

    `vault` is needed where reports are encrypted on the way; without it that raises TruthtuneError.
    """
    with database.write() as session:
        command.upgrade(_config(session.connection(), vault), revision)


def downgrade(database: Database, revision: str, vault: Vault | None = None) -> None:
    """Take the schema back to `revision` (`base`: no tables); the data of what goes is lost."""
    with database.write() as session:
        command.downgrade(_config(session.connection(), vault), revision)


def current_revision(database: Database) -> str | None:
    """The schema's version, None for an empty database. Raises DatabaseUnreachable."""
    try:
        with database.read() as session:
            return MigrationContext.configure(session.connection()).get_current_revision()
    except OperationalError as error:
        raise DatabaseUnreachable(
            f"the database {_place(database)} does not answer: {str(error.orig).strip()}; is it "
            "running, and is TRUTHTUNE_DATABASE_URL right?"
        ) from error


@cache
def head_revision() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def is_known(revision: str | None) -> bool:
    """Whether this version of the code has the revision; an empty database has None."""
    known = ScriptDirectory.from_config(_config()).walk_revisions()
    return revision is None or revision in {each.revision for each in known}


def require_current_schema(database: Database) -> None:
    """Raises SchemaOutOfDate unless the schema is this version's, or DatabaseUnreachable."""
    current = current_revision(database)
    if current != head_revision():
        raise SchemaOutOfDate(
            f"the database {_place(database)} has schema version {current or 'none'}, this version "
            f"of Truthtune needs {head_revision()}; run `truthtune db upgrade`"
        )


def _place(database: Database) -> str:
    return database.url.render_as_string(hide_password=True)


def _config(connection: Connection | None = None, vault: Vault | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["vault"] = vault
    return config
