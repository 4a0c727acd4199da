"""`truthtune model …`: what a settled round delivered."""

from pathlib import Path
from typing import Annotated

import typer

from client.commands.context import AsJson, connect, print_many, print_place
from client.commands.ids import ModelId
from client.transfers import Transfers

app = typer.Typer(no_args_is_help=True, help="Tuned models.")


@app.command("list")
def list_models(context: typer.Context, as_json: AsJson = False) -> None:
    """Models, newest first."""
    with connect(context) as client:
        columns = ["id", "round_id", "base_model", "created_at"]
        print_many(client.models.list(), columns, as_json)


@app.command()
def download(
    context: typer.Context,
    model_id: ModelId,
    folder: Annotated[Path | None, typer.Option(help="Default: the model's id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Download an adapter in PEFT's format, checked by sha256; goes on where it broke off."""
    with connect(context) as client, Transfers(visible=not as_json) as transfers:
        target = client.models.download(model_id, folder or Path(model_id), transfers.show)
    print_place(target, as_json, noun="folder", model_id=model_id)
