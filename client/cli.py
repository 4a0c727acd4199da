"""The `truthtune` command: the client's own commands, and those of the service and the workers."""

import importlib
import importlib.metadata
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from client.command_errors import DEBUG, INTERRUPTED, explained, wants_traceback
from client.commands import (
    audit_log,
    audits,
    base_models,
    corpora,
    evaluations,
    files,
    groups,
    invoices,
    jobs,
    keys,
    models,
    reports,
    reward_models,
    rounds,
    verify,
    webhooks,
)
from client.commands.context import DEFAULT_URL

_SERVICE, _WORKERS = "service.cli", "workers.cli"
_MOUNTED = (_WORKERS, _SERVICE)
"""Modules with a Typer `app`; imported only for a command that is not the client's, or for help."""

_ROUNDS, _MONEY, _ACCESS = "Rounds", "Money", "Access and events"
_INITIAL = "Initial models"
_EXAMPLES = """\
Examples: start a service with `truthtune init`, `truthtune doctor`, `truthtune up`.

Look on: `truthtune round list`, `truthtune job watch JOB_ID`, `truthtune round outcome ROUND_ID`.

In a program: `truthtune round show ROUND_ID --json | jq .state`.

For the Tab key: `truthtune --install-completion`."""


class _LazyGroup(TyperGroup):
    """Adds the mounted commands without importing them before they are asked for."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        mounted = (_commands(module).get(cmd_name) for module in _MOUNTED)
        return next((command for command in mounted if command is not None), None)

    def list_commands(self, ctx: Any) -> Any:
        own = super().list_commands(ctx)
        mounted = (name for module in _MOUNTED for name in _commands(module))
        return [*own, *(name for name in mounted if name not in own)]


class _LazyKeys(TyperGroup):
    """Adds the service's own commands on keys, which ask its database, in the same way."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name) or _key_commands().get(cmd_name)

    def list_commands(self, ctx: Any) -> Any:
        return [*super().list_commands(ctx), *_key_commands()]


class _LazyBaseModels(TyperGroup):
    """Adds the workers' own commands on base models, which need no service, in the same way."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name) or _base_model_commands().get(cmd_name)

    def list_commands(self, ctx: Any) -> Any:
        return [*super().list_commands(ctx), *_base_model_commands()]


def _key_commands() -> dict[str, Any]:
    return dict(getattr(_commands(_SERVICE).get("key"), "commands", {}))


def _base_model_commands() -> dict[str, Any]:
    return dict(getattr(_commands(_WORKERS).get("base-model"), "commands", {}))


def _commands(module: str) -> dict[str, Any]:
    """Commands of a mounted module by name; none where it is not installed."""
    try:
        app = importlib.import_module(module).app
    except ModuleNotFoundError as error:
        if error.name in (module, module.partition(".")[0]):
            return {}
        raise
    return dict(getattr(typer.main.get_command(app), "commands", {}))


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Fine-tune one model for several groups; telling the truth is the best each can do.",
    epilog=_EXAMPLES,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"truthtune {importlib.metadata.version('truthtune')}")
        raise typer.Exit


@app.callback()
def _options(
    url: Annotated[
        str | None,
        typer.Option(
            envvar="TRUTHTUNE_URL", help=f"Where the service is; by default {DEFAULT_URL}."
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="TRUTHTUNE_API_KEY", help="Your API key.", show_envvar=True),
    ] = None,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show where an error comes from, as a traceback.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """`url` and `api_key` are read by `commands.context.address_of`."""


app.add_typer(groups.app, name="group", rich_help_panel=_ROUNDS)
app.add_typer(files.app, name="file", rich_help_panel=_ROUNDS)
app.add_typer(rounds.app, name="round", rich_help_panel=_ROUNDS)
app.add_typer(reports.app, name="report", rich_help_panel=_ROUNDS)
app.add_typer(reward_models.app, name="reward-model", rich_help_panel=_ROUNDS)
app.add_typer(jobs.app, name="job", rich_help_panel=_ROUNDS)
app.add_typer(models.app, name="model", rich_help_panel=_ROUNDS)
app.add_typer(corpora.app, name="corpus", rich_help_panel=_INITIAL)
app.add_typer(base_models.app, name="base-model", cls=_LazyBaseModels, rich_help_panel=_INITIAL)
app.add_typer(evaluations.app, name="evaluation", rich_help_panel=_INITIAL)
app.command("audit", rich_help_panel=_ROUNDS)(audits.audit)
app.add_typer(invoices.invoices, name="invoice", rich_help_panel=_MONEY)
app.add_typer(invoices.receipts, name="receipt", rich_help_panel=_MONEY)
app.add_typer(invoices.signing_keys, name="signing-key", rich_help_panel=_MONEY)
app.add_typer(keys.app, name="key", cls=_LazyKeys, rich_help_panel=_ACCESS)
app.add_typer(webhooks.app, name="webhook", rich_help_panel=_ACCESS)
app.command("audit-log", rich_help_panel=_ACCESS)(audit_log.audit_log)
invoices.receipts.command("verify")(verify.verify_receipt)


def main() -> None:
    """Run the command line. Whatever goes wrong is one line on standard error, and a status."""
    try:
        status = app(standalone_mode=False, prog_name="truthtune")
        sys.stdout.flush()
    except BrokenPipeError:
        # What reads the output has seen enough. Python would flush it once more, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (Exception, KeyboardInterrupt) as error:
        if wants_traceback():
            raise
        message, failed = explained(error)
        _fail(message, failed)
    if status == INTERRUPTED:
        _fail("interrupted", INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> None:
    if message:
        typer.echo(f"truthtune: {message}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
