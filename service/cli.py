"""The commands of the control plane. Whatever is heavy is imported by the command that needs it."""

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from api_schemas.errors import TruthtuneError
from service.command_line import AsJson, checked_settings, current_database, give_up, print_answer
from service.storage_commands import artifacts, db, db_upgrade, key, ledger

_PANEL = "Run the service"

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its boxes are no log
    help="Run and administer the Truthtune service.",
)
_STORED = {"db": db, "key": key, "ledger": ledger, "artifacts": artifacts}
for noun, commands in _STORED.items():
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
        _ = settings.endpoint_list  # and so does a bad list of endpoints
        api = create_app(settings)
    uvicorn.run(api, **uvicorn_options(settings))


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
    try:
        run(settings)
    except TruthtuneError as error:
        give_up(error.message)


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
    from service.supervisor import listens, run_together

    settings = checked_settings()
    commands = ["serve", "coordinator"]
    if settings.inference_url is None:
        commands.append("inference")
    program = [sys.executable, "-m", "service.cli"]
    children = [[*program, command, "--end-with-parent"] for command in commands]
    status = run_together(
        children,
        prepare=db_upgrade,
        first_is_ready=lambda: listens(settings.host, settings.port),
    )
    raise typer.Exit(status)


if __name__ == "__main__":
    app()
