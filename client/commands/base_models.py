"""`truthtune base-model …`: base models made on the service, for rounds to start from."""

from pathlib import Path
from typing import Annotated, Any

import typer

from api_schemas.fine_tuned_models import BaseModelCreate, FineTunedBaseModel
from client.commands.context import (
    AsJson,
    connect,
    console,
    print_one,
    print_place,
    print_table,
    read_settings,
    validated,
    write_file,
)
from client.commands.ids import BaseModelId
from client.commands.jobs import follow
from client.commands.specs import UNUPLOADED, data_file
from client.corpus_tables import loss_table
from client.transfers import Transfers

app = typer.Typer(no_args_is_help=True, help="Base models that rounds start from.")


@app.command()
def create(
    context: typer.Context,
    settings: Annotated[
        Path | None, typer.Argument(help="A JSON or TOML file; not needed with options.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    corpus: Annotated[str | None, typer.Option(help="The id of a corpus to train on.")] = None,
    file: Annotated[
        str | None, typer.Option(help="Questions and answers instead: a file, or its id.")
    ] = None,
    base_model: Annotated[str | None, typer.Option(help="What is fine-tuned.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the job to its end.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a base model (operator). Options take the place of the file's fields."""
    options = {"name": name, "corpus_id": corpus, "base_model": base_model}
    given = read_settings(settings, options | {"file_id": file and UNUPLOADED})
    source = "the base model" if settings is None else str(settings)
    body: BaseModelCreate = validated(BaseModelCreate, given, source)
    with connect(context) as client:
        if file:
            uploaded = data_file(client, file, "question_answers")
            body = body.model_copy(update={"file_id": uploaded})
        made = client.base_models.create(body)
        if wait:
            follow(client, made.job_id, "base_model", as_json)
            made = client.base_models.get(made.id)
    _show(made, as_json)


@app.command("list")
def list_base_models(context: typer.Context, as_json: AsJson = False) -> None:
    """Base models made on the service, newest first (operator)."""
    with connect(context) as client:
        found = list(client.base_models.list())
    columns = ["id", "name", "made of", "status", "held-out loss", "created_at"]
    print_table(found, _row, columns, as_json)


@app.command()
def show(context: typer.Context, base_model_id: BaseModelId, as_json: AsJson = False) -> None:
    """A base model made on the service, and its losses."""
    with connect(context) as client:
        _show(client.base_models.get(base_model_id), as_json)


@app.command()
def checkpoint(
    context: typer.Context,
    base_model_id: BaseModelId,
    step: Annotated[int | None, typer.Option(help="By default the best.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Default: the base model's id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Download the adapter after so many steps in PEFT's format, checked by sha256."""
    with connect(context) as client, Transfers(visible=not as_json) as transfers:
        target = client.base_models.download_checkpoint(
            base_model_id, folder or Path(base_model_id), step, transfers.show
        )
    print_place(target, as_json, noun="folder", base_model_id=base_model_id)


@app.command()
def plot(
    context: typer.Context,
    base_model_id: BaseModelId,
    out: Annotated[Path, typer.Option(help="The file to write.")],
    as_json: AsJson = False,
) -> None:
    """Draw training and held-out loss by step, as SVG."""
    with connect(context) as client:
        drawing = client.base_models.plot(base_model_id)
    write_file(out, drawing)
    print_place(out, as_json, noun="plot", base_model_id=base_model_id)


def _show(found: FineTunedBaseModel, as_json: bool) -> None:
    if as_json:
        print_one(found, as_json)
        return
    if found.result is not None:
        console().print(loss_table(found.result))
        typer.echo(f"lines    {found.result.lines}, held out {found.result.holdout_lines}")
        typer.echo(f"revision {found.result.revision}")
    for name in ("id", "name", "status", "job_id"):
        typer.echo(f"{name:<8} {getattr(found, name)}")
    typer.echo(f"made of  {found.settings.base_model}")


def _row(found: FineTunedBaseModel) -> dict[str, Any]:
    return {
        **found.model_dump(mode="json", include={"id", "name", "status", "created_at"}),
        "made of": found.settings.base_model,
        "held-out loss": _losses(found),
    }


def _losses(found: FineTunedBaseModel) -> str | None:
    """Before training and of the checkpoint that was taken."""
    if found.result is None:
        return None
    losses = {point.step: point.holdout_loss for point in found.result.curve}
    best = losses[found.result.best_step]
    return f"{losses[0]:.4f} → {best:.4f}" if 0 in losses else f"{best:.4f}"
