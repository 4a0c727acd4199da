"""`truthtune round quote`: what would the round take?"""

from typing import Annotated, Any

import typer

from api_schemas.quotes import QuoteCreate
from client.commands.context import AsJson, connect, console, print_one, validated
from client.commands.ids import RoundId
from client.commands.jobs import follow
from client.quote_tables import quote_parts


def quote(
    context: typer.Context,
    round_id: RoundId,
    groups: Annotated[
        int | None, typer.Option(help="Groups to assume; without it, all that are registered.")
    ] = None,
    device_hour_price: Annotated[
        int | None, typer.Option(help="Of one device, in millionths of the round's currency.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the job and show the figures.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Tell time, device hours and storage of a round before it runs (operator)."""
    asked: dict[str, Any] = {
        "groups": groups,
        "price_per_device_hour_micro_units": device_hour_price,
    }
    settings = validated(QuoteCreate, asked, "the quote")
    with connect(context) as client:
        made = client.quotes.create(round_id, settings)
        if wait:
            follow(client, made.job_id, "quote", as_json)
            made = client.quotes.get(made.id)
    if as_json or made.result is None:
        print_one(made, as_json)
        return
    screen = console()
    for part in quote_parts(made.result):
        screen.print(part, soft_wrap=True)
    typer.echo(f"quote {made.id}")
