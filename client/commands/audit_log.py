"""`truthtune audit-log`: who did what."""

from typing import Annotated

import typer

from client.commands.context import AsJson, connect, print_many


def audit_log(
    context: typer.Context,
    subject: Annotated[str | None, typer.Option(help="Entries about this id alone.")] = None,
    action: Annotated[
        str | None, typer.Option(help="Entries of this action alone, such as round.opened.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Who did what to whom, newest first (operator)."""
    with connect(context) as client:
        columns = ["created_at", "actor", "action", "subject", "reason"]
        print_many(client.audit_log.list(subject=subject, action=action), columns, as_json)
