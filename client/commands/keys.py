"""`truthtune key …`: API keys over HTTP, beside the service's own `create-operator`."""

from datetime import datetime
from typing import Annotated

import typer

from api_schemas.base import Timestamp
from api_schemas.groups import DEFAULT_GRACE_SECONDS, Access
from client.commands.context import AsJson, connect, print_many, print_one, validated
from client.commands.ids import KeyId

Name = Annotated[str, typer.Option(help="A note to tell keys apart.")]
AccessOption = Annotated[
    str, typer.Option(help="`full`, or `read` for a key that changes nothing.")
]
ExpiresAt = Annotated[
    str | None, typer.Option(help="When it ends, as 2031-01-01T12:00:00Z; by default never.")
]


app = typer.Typer(no_args_is_help=True, help="API keys.")


@app.command("list")
def list_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """All keys without their secrets, newest first (operator)."""
    with connect(context) as client:
        columns = ["id", "name", "scope", "group_id", "access", "expires_at", "revoked_at"]
        print_many(client.keys.list(), columns, as_json)


@app.command()
def show(context: typer.Context, key_id: KeyId, as_json: AsJson = False) -> None:
    """One key without its secret (operator)."""
    with connect(context) as client:
        print_one(client.keys.get(key_id), as_json)


@app.command()
def create(
    context: typer.Context,
    name: Name = "",
    access: AccessOption = "full",
    expires_at: ExpiresAt = None,
    as_json: AsJson = False,
) -> None:
    """Make another key of the operator's; its secret is shown this once. Groups: `group
    create-key`."""
    known: Access = validated(Access, access, "--access")
    until = moment(expires_at)
    with connect(context) as client:
        print_one(client.keys.create_operator(name, access=known, expires_at=until), as_json)


@app.command()
def rotate(
    context: typer.Context,
    key_id: KeyId,
    grace_seconds: Annotated[
        int, typer.Option(help="For so long the old key works on; 0 ends it at once.")
    ] = DEFAULT_GRACE_SECONDS,
    expires_at: Annotated[
        str | None, typer.Option(help="When the successor ends; by default as the key was to.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key's successor. Its secret is shown this once. A group's key may rotate itself."""
    until = moment(expires_at)
    with connect(context) as client:
        made = client.keys.rotate(key_id, grace_seconds=grace_seconds, expires_at=until)
    print_one(made, as_json)


@app.command()
def revoke(context: typer.Context, key_id: KeyId, as_json: AsJson = False) -> None:
    """End a key from the next request on, for good (operator)."""
    with connect(context) as client:
        print_one(client.keys.revoke(key_id), as_json)


def moment(expires_at: str | None) -> datetime | None:
    """Raises InvalidInput for a time without an offset."""
    found: datetime | None = validated(Timestamp | None, expires_at, "--expires-at")
    return found
