"""The commands of the control plane. Whatever is heavy is imported by the command that needs it."""

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from api_schemas.errors import TruthtuneError
from service.command_line import (
    AsJson,
    any_database,
    checked_settings,
    current_database,
    give_up,
    print_answer,
)

_PANEL = "Run the service"

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its boxes are no log
    help="Run and administer the Truthtune service.",
)
db = typer.Typer(no_args_is_help=True, help="The database's schema.")
key = typer.Typer(no_args_is_help=True, help="API keys.")
ledger = typer.Typer(help="The ledger.")
artifacts = typer.Typer(help="The artifact store.")
for noun, commands in {"db": db, "key": key, "ledger": ledger, "artifacts": artifacts}.items():
    app.add_typer(commands, name=noun, rich_help_panel=_PANEL)


EndWithParent = Annotated[bool, typer.Option("--end-with-parent", hidden=True)]


@app.command(rich_help_panel=_PANEL)
def init(
    file: Annotated[
        Path | None,
        typer.Option(help="Default: TRUTHTUNE_SETTINGS_FILE, or truthtune.env in this folder."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write a file anew; the values that it sets stay.")
    ] = False,
    with_secrets: Annotated[
        bool,
        typer.Option(
            "--secrets", help="Put both secrets into it, for a service on several machines."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a settings file: every setting with its reason and its default, commented out."""
    from api_schemas.settings_file import settings_path
    from service import settings_template as template

    path = file or settings_path()
    if path.exists() and not force:
        give_up(f"{path} is there already: --force writes it anew and keeps the values it sets")
    try:
        values = template.kept_values(path)
        if with_secrets:
            values = template.made_secrets(checked_settings()) | values
        template.write_settings_file(path, template.settings_text(values), overwrite=force)
    except TruthtuneError as error:
        give_up(error.message)
    print_answer(
        {"object": "settings_file", "file": str(path), "set": sorted(values)},
        f"{path} is written, with {len(values) or 'none'} of its settings set; what next: "
        "truthtune doctor",
        as_json,
    )


@app.command(rich_help_panel=_PANEL)
def doctor(as_json: AsJson = False) -> None:
    """Examine the installation: what is wrong, a line each, and the command that mends it.

    Exits with 1 if anything is wrong; a warning alone is none. Nothing is changed or fetched.
    """
    from service.doctor.display import show
    from service.doctor.examination import examine_installation

    found = []
    for finding in examine_installation():
        found.append(finding)
        if not as_json:
            show(finding)
    healthy = all(finding.verdict.status != "wrong" for finding in found)
    if as_json:
        findings = [finding.as_json() for finding in found]
        print_answer({"object": "diagnosis", "healthy": healthy, "findings": findings}, "", as_json)
    if not healthy:
        raise typer.Exit(1)


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
    from datetime import timedelta

    from service.collection.collecting import collect
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
    print_answer(
        {"object": "collection", "dry_run": dry_run, "expired_stages": expired} | asdict(found),
        f"{found.removed} artifacts of {found.removed_bytes} bytes "
        f"{'would be ' if dry_run else ''}removed, with {found.partials} half-written files; "
        f"kept {found.named} that are named and {found.young} that are young",
        as_json,
    )


@app.command(rich_help_panel=_PANEL)
def serve(end_with_parent: EndWithParent = False) -> None:
    """Run the HTTP API alone, until Ctrl-C or SIGTERM."""
    gc.disable()  # among thousands of new classes there is no garbage, and looking takes a while
    import uvicorn

    from service import supervisor
    from service.app import create_app
    from service.server import uvicorn_options
    from service.vault import load_vault

    gc.freeze()
    gc.enable()
    if end_with_parent:
        supervisor.wait_to_begin()
    with current_database() as (settings, _):
        load_vault(settings)  # a bad key ends here, in a line
    uvicorn.run(create_app(settings), **uvicorn_options(settings))


@app.command(rich_help_panel=_PANEL)
def coordinator(end_with_parent: EndWithParent = False) -> None:
    """Run the coordinator alone: it works off closed rounds, until Ctrl-C or SIGTERM."""
    from service import supervisor
    from service.coordinator import run
    from service.vault import load_vault

    if end_with_parent:
        supervisor.wait_to_begin()
    with current_database() as (settings, _):
        load_vault(settings)
    run(settings)


@app.command(rich_help_panel=_PANEL)
def inference(end_with_parent: EndWithParent = False) -> None:
    """Run the inference process alone: it writes the playground's answers, until Ctrl-C or SIGTERM.

    It needs no database, and loads a model at the first request.
    """
    from service import supervisor
    from service.playground.inference import run

    settings = checked_settings()
    if end_with_parent:
        supervisor.wait_to_begin()
    try:
        run(settings)
    except TruthtuneError as error:
        give_up(error.message)


@app.command(rich_help_panel=_PANEL)
def up() -> None:
    """Upgrade the database, then run API, coordinator and inference process together, until Ctrl-C
    or SIGTERM.

    If one of the three ends, the others are ended too, and the exit status is not 0. With
    TRUTHTUNE_INFERENCE_URL the inference process is somebody else's to start.
    """
    from service.supervisor import run_together

    commands = ["serve", "coordinator"]
    if checked_settings().inference_url is None:
        commands.append("inference")
    program = [sys.executable, "-m", "service.cli"]
    children = [[*program, command, "--end-with-parent"] for command in commands]
    status = run_together(children, prepare=db_upgrade)
    raise typer.Exit(status)


if __name__ == "__main__":
    app()
