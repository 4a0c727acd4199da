"""`truthtune group …`: the operator registers groups and gives them keys."""

import typer

from api_schemas.groups import Access
from client.commands.context import AsJson, connect, print_many, print_one, validated
from client.commands.ids import GroupId
from client.commands.keys import AccessOption, ExpiresAt, Name, moment

app = typer.Typer(no_args_is_help=True, help="Groups and their API keys (operator).")


@app.command()
def create(context: typer.Context, name: str, as_json: AsJson = False) -> None:
    """Register a group."""
    with connect(context) as client:
        print_one(client.groups.create(name), as_json)


@app.command("list")
def list_groups(context: typer.Context, as_json: AsJson = False) -> None:
    """All groups, newest first."""
    with connect(context) as client:
        print_many(client.groups.list(), ["id", "name", "created_at"], as_json)


@app.command("create-key")
def create_key(
    context: typer.Context,
    group_id: GroupId,
    name: Name = "",
    access: AccessOption = "full",
    expires_at: ExpiresAt = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key for a group. Its secret is shown this once."""
    known: Access = validated(Access, access, "--access")
    until = moment(expires_at)
    with connect(context) as client:
        made = client.groups.create_key(group_id, name, access=known, expires_at=until)
    print_one(made, as_json)
