"""The `truthtune` command: the client's own commands, and those of the service and the workers."""

import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from api_schemas.errors import TruthtuneError
from client.commands import (
    audit_log,
    audits,
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
from client.commands.context import Address

_DEFAULT_URL = "http://127.0.0.1:8321"
_SERVICE = "service.cli"
_MOUNTED = ("workers.cli", _SERVICE)
"""Modules with a Typer `app`; imported only for a command that is not the client's, or for help."""


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


def _key_commands() -> dict[str, Any]:
    return dict(getattr(_commands(_SERVICE).get("key"), "commands", {}))


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
    add_completion=False,
    help="Fine-tune one model for several groups; telling the truth is the best each can do.",
)


@app.callback()
def _address(
    context: typer.Context,
    url: Annotated[
        str, typer.Option(envvar="TRUTHTUNE_URL", help="Where the service is.")
    ] = _DEFAULT_URL,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="TRUTHTUNE_API_KEY", help="Your API key.", show_envvar=True),
    ] = None,
) -> None:
    context.obj = Address(url, api_key)


app.add_typer(groups.app, name="group")
app.add_typer(keys.app, name="key", cls=_LazyKeys)
app.command("audit-log")(audit_log.audit_log)
app.add_typer(files.app, name="file")
app.add_typer(rounds.app, name="round")
app.add_typer(reports.app, name="report")
app.add_typer(reward_models.app, name="reward-model")
app.add_typer(jobs.app, name="job")
app.add_typer(models.app, name="model")
app.command("audit")(audits.audit)
app.add_typer(invoices.invoices, name="invoice")
app.add_typer(invoices.receipts, name="receipt")
app.add_typer(invoices.signing_keys, name="signing-key")
app.add_typer(webhooks.app, name="webhook")
invoices.receipts.command("verify")(verify.verify_receipt)


def main() -> None:
    """Run the command line; an error is one line on standard error, and exit status 1."""
    try:
        app()
    except TruthtuneError as error:
        _fail(_one_line(error))
    except ModuleNotFoundError as error:
        _fail(
            f"this command needs the package {error.name!r}: "
            "pip install 'truthtune[service,workers]'"
        )


def _one_line(error: TruthtuneError) -> str:
    message = " ".join(error.message.split())
    return message if error.param is None or error.param in message else f"{error.param}: {message}"


def _fail(message: str) -> None:
    typer.echo(f"truthtune: {message}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
