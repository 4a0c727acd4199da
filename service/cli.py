"""The commands of the control plane. Whatever is heavy is imported by the command that needs it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from api_schemas.errors import TruthtuneError

if TYPE_CHECKING:
    from service.database import Database
    from service.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Run and administer the Truthtune service.")
db = typer.Typer(no_args_is_help=True, help="The database's schema.")
key = typer.Typer(no_args_is_help=True, help="API keys.")
ledger = typer.Typer(help="The ledger.")
app.add_typer(db, name="db")
app.add_typer(key, name="key")
app.add_typer(ledger, name="ledger")
artifacts = typer.Typer(help="The artifact store.")
app.add_typer(artifacts, name="artifacts")

EndWithParent = Annotated[bool, typer.Option("--end-with-parent", hidden=True)]


@db.command("upgrade")
def db_upgrade() -> None:
    """Bring the database's schema to this version's; makes the database if there is none."""
    import migrations
    from service.vault import load_vault

    with _database() as (settings, database):
        before = migrations.current_revision(database)
        migrations.upgrade(database, vault=load_vault(settings))
        after = migrations.current_revision(database)
        place = database.url.render_as_string(hide_password=True)
    if before == after:
        typer.echo(f"{place} is at schema version {after} already")
    else:
        typer.echo(f"{place}: schema version {before or 'none'} → {after}")


@db.command("check")
def db_check() -> None:
    """Exit with 1, naming what to do, unless the schema is the one this version needs."""
    with _current_database():
        typer.echo("the schema is the one this version needs")


@key.command("create-operator")
def create_operator_key(
    name: Annotated[str, typer.Option(help="A note to tell keys apart.")] = "",
) -> None:
    """Make an operator's API key and print it, this once."""
    from datetime import UTC, datetime

    from service import audit
    from service.auth import hmac_of, load_key_secret, new_secret
    from service.groups import repository

    with _current_database() as (settings, database):
        secret = new_secret("operator")
        hashed = hmac_of(secret, load_key_secret(settings))
        with database.write() as session:
            made = repository.add_key(session, "operator", None, name, hashed, datetime.now(UTC))
            audit.record(session, "command", "key.created", made.id)
    typer.echo(secret)


@ledger.callback()
def _ledger() -> None:
    """Makes `verify` a command of its own, though it is the only one."""


@ledger.command("verify")
def verify_ledger(
    public_key: Annotated[
        list[str] | None,
        typer.Option(help="In base 64, as noted before: only these may have signed."),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(metavar="SEQUENCE:HASH", help="Seen before: it must still be there."),
    ] = None,
) -> None:
    """Recompute every hash, signature, sum and balance; one line and exit status 1 for a fault.

    Without the options a ledger that was written anew as a whole, keys included, looks right.
    """
    from service.ledger import verification

    with _current_database() as (_, database), database.read() as session:
        heads = [verification.parse_head(text) for text in head or []]
        keys = [verification.parse_public_key(text) for text in public_key or []]
        found = 0
        for fault in verification.faults(session, keys, heads):
            typer.echo(fault)
            found += 1
        typer.echo(f"{verification.summary(session)}: {found or 'no'} fault{'s' * (found != 1)}")
    if found:
        raise typer.Exit(1)


@artifacts.callback()
def _artifacts() -> None:
    """Makes `collect` a command of its own, though it is the only one."""


@artifacts.command("collect")
def collect_artifacts(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and remove nothing.")] = False,
    older_than: Annotated[
        float,
        typer.Option(metavar="HOURS", min=0, help="Spare what was stored more lately."),
    ] = 24.0,
) -> None:
    """Remove stored artifacts that nothing names any more; may run beside the service.

    With TRUTHTUNE_STAGE_RETENTION_DAYS, lets go of what the stages of jobs left that ended longer
    ago, before.
    """
    from datetime import timedelta

    from service.collection.collecting import collect
    from service.collection.retention import expire_stages
    from service.vault import load_vault
    from workers.artifacts import ArtifactStore

    with _current_database() as (settings, database):
        if settings.stage_retention_days is not None and not dry_run:
            with database.write() as session:
                expired = expire_stages(session, settings.stage_retention_days)
            typer.echo(f"{expired} stages of ended jobs keep their artifacts no longer")
        found = collect(
            database,
            load_vault(settings),
            ArtifactStore(settings.resolved_artifacts_url),
            timedelta(hours=older_than),
            dry_run=dry_run,
        )
    typer.echo(
        f"{found.removed} artifacts of {found.removed_bytes} bytes "
        f"{'would be ' if dry_run else ''}removed, with {found.partials} half-written files; "
        f"kept {found.named} that are named and {found.young} that are young"
    )


@app.command()
def serve(end_with_parent: EndWithParent = False) -> None:
    """Run the HTTP API alone, until Ctrl-C or SIGTERM."""
    import uvicorn

    from service import supervisor
    from service.app import create_app
    from service.server import uvicorn_options

    with _current_database() as (settings, _):
        pass
    if end_with_parent:
        supervisor.end_with_parent()
    uvicorn.run(create_app(settings), **uvicorn_options(settings))


@app.command()
def coordinator(end_with_parent: EndWithParent = False) -> None:
    """Run the coordinator alone: it works off closed rounds, until Ctrl-C or SIGTERM."""
    from service import supervisor
    from service.coordinator import run

    with _current_database() as (settings, _):
        pass
    if end_with_parent:
        supervisor.end_with_parent()
    run(settings)


@app.command()
def up() -> None:
    """Upgrade the database, then run API and coordinator together, until Ctrl-C or SIGTERM.

    If one of the two ends, the other is ended too, and the exit status is not 0.
    """
    from service.supervisor import run_together

    db_upgrade()
    program = [sys.executable, "-m", "service.cli"]
    status = run_together(
        [[*program, command, "--end-with-parent"] for command in ("serve", "coordinator")]
    )
    raise typer.Exit(status)


@contextmanager
def _database() -> "Iterator[tuple[Settings, Database]]":
    """Settings and database of the environment; a named error becomes a line and exit status 1."""
    from service.database import Database

    settings = _settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    database = Database(settings.resolved_database_url)
    try:
        yield settings, database
    except TruthtuneError as error:
        _give_up(error.message)
    finally:
        database.dispose()


def _settings() -> "Settings":
    from pydantic import ValidationError

    from service.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        _give_up(f"TRUTHTUNE_{name.upper()}: {first['msg'].removeprefix('Value error, ')}")


def _give_up(reason: str) -> NoReturn:
    typer.echo(f"truthtune: {reason}", err=True)
    raise typer.Exit(1) from None


@contextmanager
def _current_database() -> "Iterator[tuple[Settings, Database]]":
    import migrations

    with _database() as (settings, database):
        migrations.require_current_schema(database)
        yield settings, database


if __name__ == "__main__":
    app()
