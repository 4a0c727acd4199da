"""`truthtune webhook …`: be told of what happens, instead of asking for it."""

from typing import Annotated

import typer

from api_schemas.webhooks import (
    EVENT_TYPES,
    EndpointStatus,
    EventTypes,
    WebhookEndpointUpdate,
    WebhookUrl,
)
from client.commands.context import AsJson, connect, print_many, print_one, validated
from client.commands.ids import WebhookEndpointId

app = typer.Typer(no_args_is_help=True, help="Webhooks: be told of what happens.")

Events = Annotated[
    list[str] | None,
    typer.Option("--event", help="A type of event, such as round.settled; repeatable."),
]


@app.command()
def create(context: typer.Context, url: str, event: Events = None, as_json: AsJson = False) -> None:
    """Send events to a URL; all types without --event. Shows the key to check them with."""
    address: str = validated(WebhookUrl, url, "url")
    types = validated(EventTypes, event or list(EVENT_TYPES), "--event")
    with connect(context) as client:
        print_one(client.webhook_endpoints.create(address, types), as_json)


@app.command("list")
def list_endpoints(context: typer.Context, as_json: AsJson = False) -> None:
    """Your endpoints, newest first."""
    with connect(context) as client:
        columns = ["id", "status", "url", "created_at"]
        print_many(client.webhook_endpoints.list(), columns, as_json)


@app.command()
def show(context: typer.Context, endpoint_id: WebhookEndpointId, as_json: AsJson = False) -> None:
    """One endpoint, with its public keys."""
    with connect(context) as client:
        print_one(client.webhook_endpoints.get(endpoint_id), as_json)


@app.command()
def update(
    context: typer.Context,
    endpoint_id: WebhookEndpointId,
    url: Annotated[str | None, typer.Option(help="Where to send to from now on.")] = None,
    event: Events = None,
    status: Annotated[str | None, typer.Option(help="enabled or disabled.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of an endpoint."""
    changes = WebhookEndpointUpdate(
        url=validated(WebhookUrl | None, url, "url"),
        event_types=validated(EventTypes | None, event or None, "--event"),
        status=validated(EndpointStatus | None, status, "--status"),
    )
    with connect(context) as client:
        print_one(client.webhook_endpoints.update(endpoint_id, changes), as_json)


@app.command()
def delete(context: typer.Context, endpoint_id: WebhookEndpointId, as_json: AsJson = False) -> None:
    """Delete an endpoint and its messages."""
    with connect(context) as client:
        print_one(client.webhook_endpoints.delete(endpoint_id), as_json)


@app.command("rotate-key")
def rotate_key(
    context: typer.Context, endpoint_id: WebhookEndpointId, as_json: AsJson = False
) -> None:
    """Make a new key; the one before signs as well for 24 hours."""
    with connect(context) as client:
        print_one(client.webhook_endpoints.rotate_key(endpoint_id), as_json)


@app.command("test")
def send_test(
    context: typer.Context, endpoint_id: WebhookEndpointId, as_json: AsJson = False
) -> None:
    """Send a test message; `messages` tells whether it arrived."""
    with connect(context) as client:
        print_one(client.webhook_endpoints.test(endpoint_id), as_json)


@app.command()
def messages(
    context: typer.Context, endpoint_id: WebhookEndpointId, as_json: AsJson = False
) -> None:
    """The messages to an endpoint, newest first, and what became of each."""
    with connect(context) as client:
        columns = ["id", "payload.type", "status", "attempts", "last_status", "last_error"]
        print_many(client.webhook_endpoints.messages(endpoint_id), columns, as_json)


@app.command()
def replay(context: typer.Context, message_id: str, as_json: AsJson = False) -> None:
    """Send a message again, under the same id."""
    with connect(context) as client:
        print_one(client.webhook_endpoints.replay(message_id), as_json)
