"""`truthtune evaluation …`: several models' answers to the same questions, in one table."""

from pathlib import Path
from typing import Annotated, Any

import typer

from api_schemas.evaluations import Evaluation, EvaluationCreate
from client.client import Truthtune
from client.commands import budgets
from client.commands.context import (
    AsJson,
    connect,
    console,
    print_one,
    print_place,
    print_table,
    read_settings,
    validated,
)
from client.commands.ids import EvaluationId
from client.commands.jobs import follow
from client.commands.specs import UNUPLOADED, data_file
from client.corpus_tables import evaluated_text, evaluation_table, spent_text
from client.transfers import Transfers

app = typer.Typer(no_args_is_help=True, help="Evaluations: models side by side.")
_Out = Annotated[Path, typer.Option(help="The file to write.")]
_Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the job, show the table.")]


@app.command()
def create(
    context: typer.Context,
    settings: Annotated[
        Path | None, typer.Argument(help="A JSON or TOML file; not needed with options.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    base_model: Annotated[
        list[str] | None, typer.Option(help="A base model, also one made here; repeatable.")
    ] = None,
    tuned: Annotated[
        list[str] | None, typer.Option(help="The id of a settled round's model; repeatable.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(help="The id of a corpus, for the questions it holds out.")
    ] = None,
    file: Annotated[
        str | None, typer.Option(help="Questions and answers instead: a file, or its id.")
    ] = None,
    wait: _Wait = True,
    as_json: AsJson = False,
) -> None:
    """Compare models (operator). Options take the place of the file's fields."""
    models: list[dict[str, str]] = [
        *({"type": "base_model", "base_model": each} for each in base_model or []),
        *({"type": "tuned", "model_id": each} for each in tuned or []),
    ]
    options = {"name": name, "models": models, "corpus_id": corpus}
    given = read_settings(settings, options | {"file_id": file and UNUPLOADED})
    source = "the evaluation" if settings is None else str(settings)
    body: EvaluationCreate = validated(EvaluationCreate, given, source)
    with connect(context) as client:
        if file:
            uploaded = data_file(client, file, "question_answers")
            body = body.model_copy(update={"file_id": uploaded})
        _follow_and_show(client, client.evaluations.create(body), wait, as_json)


@app.command()
def resume(
    context: typer.Context,
    evaluation_id: EvaluationId,
    max_tokens: budgets.MaxTokens = None,
    max_cost: budgets.MaxCost = None,
    wait: _Wait = True,
    as_json: AsJson = False,
) -> None:
    """Go on with an evaluation that stopped, with a larger budget (operator)."""
    with connect(context) as client:
        before = client.evaluations.get(evaluation_id).settings.budget
        budget = budgets.changed(before, max_tokens, max_cost)
        resumed = client.evaluations.resume(evaluation_id, budget)
        _follow_and_show(client, resumed, wait, as_json)


@app.command("list")
def list_evaluations(context: typer.Context, as_json: AsJson = False) -> None:
    """Evaluations, newest first (operator)."""
    with connect(context) as client:
        found = list(client.evaluations.list())
    columns = ["id", "name", "models", "status", "questions", "created_at"]
    print_table(found, _row, columns, as_json)


@app.command()
def show(context: typer.Context, evaluation_id: EvaluationId, as_json: AsJson = False) -> None:
    """An evaluation's table (operator)."""
    with connect(context) as client:
        _show(client.evaluations.get(evaluation_id), as_json)


@app.command()
def answers(
    context: typer.Context, evaluation_id: EvaluationId, out: _Out, as_json: AsJson = False
) -> None:
    """Download questions, references and answers, checked by sha256 (operator)."""
    with connect(context) as client, Transfers(visible=not as_json) as transfers:
        client.evaluations.download_answers(evaluation_id, out, transfers.show)
    print_place(out, as_json, evaluation_id=evaluation_id)


@app.command()
def calls(
    context: typer.Context, evaluation_id: EvaluationId, out: _Out, as_json: AsJson = False
) -> None:
    """Download every call of the judge with its reply, checked by sha256 (operator)."""
    with connect(context) as client, Transfers(visible=not as_json) as transfers:
        client.evaluations.download_calls(evaluation_id, out, transfers.show)
    print_place(out, as_json, evaluation_id=evaluation_id)


def _follow_and_show(client: Truthtune, made: Evaluation, wait: bool, as_json: bool) -> None:
    if wait:
        follow(client, made.job_id, "evaluation", as_json)
        made = client.evaluations.get(made.id)
    _show(made, as_json)


def _show(found: Evaluation, as_json: bool) -> None:
    if as_json:
        print_one(found, as_json)
        return
    if found.result is not None:
        console().print(evaluation_table(found.result))
        typer.echo(f"judge's calls: {spent_text(found.result.spent)}")
    for name in ("id", "name", "status", "job_id"):
        typer.echo(f"{name:<6} {getattr(found, name)}")


def _row(found: Evaluation) -> dict[str, Any]:
    return {
        **found.model_dump(mode="json", include={"id", "name", "status", "created_at"}),
        "models": ", ".join(evaluated_text(each) for each in found.settings.models),
        "questions": found.result.questions if found.result else None,
    }
