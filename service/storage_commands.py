"""The commands that look after what is stored: the schema, API keys, the ledger, artifacts."""

from typing import Annotated

import typer

from service.command_line import AsJson, any_database, current_database, print_answer

db = typer.Typer(no_args_is_help=True, help="The database's schema.")
key = typer.Typer(no_args_is_help=True, help="API keys.")
ledger = typer.Typer(help="The ledger.")
artifacts = typer.Typer(help="The artifact store.")


@db.command("upgrade")
def db_upgrade(as_json: AsJson = False) -> None:
    """Bring the database's schema to this version's; makes the database if there is none."""
    import migrations
    from service.vault import load_vault

    with any_database() as (settings, database):
        before = migrations.current_revision(database)
        migrations.upgrade(database, vault=load_vault(settings))
        after = migrations.current_revision(database)
        place = database.url.render_as_string(hide_password=True)
    if before == after:
        told = f"{place} is at schema version {after} already"
    else:
        told = f"{place}: schema version {before or 'none'} → {after}"
    print_answer(
        {"object": "schema", "database": place, "before": before, "version": after}, told, as_json
    )


@db.command("check")
def db_check(as_json: AsJson = False) -> None:
    """Exit with 1, naming what to do, unless the schema is the one this version needs."""
    import migrations

    with current_database() as (_, database):
        place = database.url.render_as_string(hide_password=True)
    print_answer(
        {"object": "schema", "database": place, "version": migrations.head_revision()},
        "the schema is the one this version needs",
        as_json,
    )


@key.command("create-operator")
def create_operator_key(
    name: Annotated[str, typer.Option(help="A note to tell keys apart.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make an operator's API key and print it, this once."""
    from datetime import UTC, datetime

    from service import audit
    from service.auth import hmac_of, load_key_secret, new_secret
    from service.groups import repository

    with current_database() as (settings, database):
        secret = new_secret("operator")
        hashed = hmac_of(secret, load_key_secret(settings))
        with database.write() as session:
            made = repository.add_key(session, "operator", None, name, hashed, datetime.now(UTC))
            audit.record(session, "command", "key.created", made.id)
    print_answer(made.model_dump(mode="json") | {"secret": secret}, secret, as_json)


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
    as_json: AsJson = False,
) -> None:
    """Recompute every hash, signature, sum and balance; one line and exit status 1 for a fault.

    Without the options a ledger that was written anew as a whole, keys included, looks right.
    """
    from service.ledger import verification

    with current_database() as (_, database), database.read() as session:
        heads = [verification.parse_head(text) for text in head or []]
        keys = [verification.parse_public_key(text) for text in public_key or []]
        found = []
        for fault in verification.faults(session, keys, heads):
            found.append(fault)
            if not as_json:
                typer.echo(fault)
        summary = verification.summary(session)
    print_answer(
        {"object": "ledger_verification", "summary": summary, "faults": found},
        f"{summary}: {len(found) or 'no'} fault{'s' * (len(found) != 1)}",
        as_json,
    )
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
    as_json: AsJson = False,
) -> None:
    """Remove stored artifacts that nothing names any more; may run beside the service.

    With TRUTHTUNE_STAGE_RETENTION_DAYS, lets go of what the stages of jobs left that ended longer
    ago, before.
    """
    from dataclasses import asdict
    from datetime import UTC, datetime, timedelta

    from service.collection.collecting import collect
    from service.collection.leftovers import remove_half_models
    from service.collection.retention import expire_stages
    from service.vault import load_vault
    from workers.artifacts import ArtifactStore

    expired = 0
    with current_database() as (settings, database):
        if settings.stage_retention_days is not None and not dry_run:
            with database.write() as session:
                expired = expire_stages(session, settings.stage_retention_days)
            if not as_json:
                typer.echo(f"{expired} stages of ended jobs keep their artifacts no longer")
        found = collect(
            database,
            load_vault(settings),
            ArtifactStore(settings.resolved_artifacts_url),
            timedelta(hours=older_than),
            dry_run=dry_run,
        )
        before = datetime.now(UTC) - timedelta(hours=older_than)
        models = remove_half_models(before, dry_run=dry_run)
    print_answer(
        {"object": "collection", "dry_run": dry_run, "expired_stages": expired}
        | asdict(found)
        | {"half_models": models},
        f"{found.removed} artifacts of {found.removed_bytes} bytes "
        f"{'would be ' if dry_run else ''}removed, with {found.partials} half-written files, "
        f"{found.books} books of calls and {models} half-made base models; "
        f"kept {found.named} that are named and {found.young} that are young",
        as_json,
    )
