"""`truthtune corpus …`: questions and answers made of documents."""

from pathlib import Path
from typing import Annotated, Any

import typer

from api_schemas.corpora import Corpus, CorpusCreate
from api_schemas.errors import InvalidInput
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
    write_file,
)
from client.commands.ids import CorpusId
from client.commands.jobs import follow
from client.commands.specs import UNUPLOADED, data_file
from client.corpus_tables import language_model_text, prompt_table, question_table, spent_text
from client.transfers import Transfers

app = typer.Typer(no_args_is_help=True, help="Corpora: questions and answers of documents.")

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the job to its end.")]
Out = Annotated[Path, typer.Option(help="The file to write.")]


@app.command()
def create(
    context: typer.Context,
    settings: Annotated[Path, typer.Argument(help="A JSON or TOML file.")],
    name: Annotated[str | None, typer.Option(help="Takes the place of the file's.")] = None,
    document: Annotated[
        list[str] | None,
        typer.Option(help="Text, Markdown or PDF to upload, or the id of one; repeatable."),
    ] = None,
    seed_questions: Annotated[
        str | None, typer.Option(help="Questions whose style to follow: a file, or its id.")
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(help="Questions that people answered, to optimise the prompt on: the same."),
    ] = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Make a corpus of documents (operator). The options take the place of the file's fields."""
    given = read_settings(settings, {"name": name})
    if pairs and not isinstance(given.get("prompt_optimization"), dict):
        raise InvalidInput(f"--pairs needs prompt_optimization with its judge in {settings}")
    # All but the files, before anything is uploaded.
    unuploaded = ([UNUPLOADED] if document else [], seed_questions and UNUPLOADED)
    _settings(given, settings, *unuploaded, pairs and UNUPLOADED)
    with connect(context) as client:
        documents = [data_file(client, each, "document") for each in document or []]
        seeds = seed_questions and data_file(client, seed_questions, "questions")
        optimized_on = pairs and data_file(client, pairs, "question_answers")
        made = client.corpora.create(_settings(given, settings, documents, seeds, optimized_on))
        _follow_and_show(client, made, wait, as_json)


@app.command()
def resume(
    context: typer.Context,
    corpus_id: CorpusId,
    max_tokens: budgets.MaxTokens = None,
    max_cost: budgets.MaxCost = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Go on with a corpus that stopped, with a larger budget (operator)."""
    with connect(context) as client:
        before = client.corpora.get(corpus_id).settings.budget
        budget = budgets.changed(before, max_tokens, max_cost)
        resumed = client.corpora.resume(corpus_id, budget)
        _follow_and_show(client, resumed, wait, as_json)


@app.command("list")
def list_corpora(context: typer.Context, as_json: AsJson = False) -> None:
    """Corpora, newest first (operator)."""
    with connect(context) as client:
        found = list(client.corpora.list())
    columns = ["id", "name", "status", "lines", "held out", "tokens", "created_at"]
    print_table(found, _row, columns, as_json)


@app.command()
def show(context: typer.Context, corpus_id: CorpusId, as_json: AsJson = False) -> None:
    """A corpus, what it spent, and its questions by round (operator)."""
    with connect(context) as client:
        _show(client.corpora.get(corpus_id), as_json)


@app.command()
def history(context: typer.Context, corpus_id: CorpusId, as_json: AsJson = False) -> None:
    """The prompts that were tried, with their scores; --json: with the reasons (operator)."""
    with connect(context) as client:
        found = client.corpora.history(corpus_id)
    if as_json:
        print_one(found, as_json)
        return
    screen = console()
    screen.print(prompt_table(found))
    screen.print(found.candidates[found.best].prompt, soft_wrap=True, markup=False)


@app.command()
def plot(context: typer.Context, corpus_id: CorpusId, out: Out, as_json: AsJson = False) -> None:
    """Draw the scores of the prompts that were tried, as SVG (operator)."""
    with connect(context) as client:
        drawing = client.corpora.plot(corpus_id)
    write_file(out, drawing)
    print_place(out, as_json, corpus_id=corpus_id)


@app.command()
def lines(context: typer.Context, corpus_id: CorpusId, out: Out, as_json: AsJson = False) -> None:
    """Download the lines to train on, checked by sha256 (operator)."""
    with connect(context) as client, Transfers(visible=not as_json) as transfers:
        client.corpora.download_lines(corpus_id, out, transfers.show)
    print_place(out, as_json, corpus_id=corpus_id)


@app.command()
def holdout(context: typer.Context, corpus_id: CorpusId, out: Out, as_json: AsJson = False) -> None:
    """Download the lines that are held out, checked by sha256 (operator)."""
    with connect(context) as client, Transfers(visible=not as_json) as transfers:
        client.corpora.download_holdout(corpus_id, out, transfers.show)
    print_place(out, as_json, corpus_id=corpus_id)


@app.command()
def calls(context: typer.Context, corpus_id: CorpusId, out: Out, as_json: AsJson = False) -> None:
    """Download every call of a language model with its reply, checked by sha256 (operator)."""
    with connect(context) as client, Transfers(visible=not as_json) as transfers:
        client.corpora.download_calls(corpus_id, out, transfers.show)
    print_place(out, as_json, corpus_id=corpus_id)


def _settings(
    given: dict[str, Any],
    source: Path,
    documents: list[str],
    seeds: str | None,
    pairs: str | None,
) -> CorpusCreate:
    """The file's settings, with these files in place of its own where they are given."""
    asked = dict(given)
    if documents:
        asked["document_file_ids"] = documents
    if seeds:
        asked["seed_questions_file_id"] = seeds
    if pairs:
        asked["prompt_optimization"] = asked["prompt_optimization"] | {"pairs_file_id": pairs}
    found: CorpusCreate = validated(CorpusCreate, asked, str(source))
    return found


def _follow_and_show(client: Truthtune, made: Corpus, wait: bool, as_json: bool) -> None:
    if wait:
        follow(client, made.job_id, "corpus", as_json)
        made = client.corpora.get(made.id)
    _show(made, as_json)


def _show(found: Corpus, as_json: bool) -> None:
    if as_json:
        print_one(found, as_json)
        return
    screen = console()
    if found.result is not None:
        screen.print(question_table(found.result))
        screen.print(f"prompt    {found.result.prompt}", soft_wrap=True, markup=False)
        typer.echo(f"lines     {found.result.lines}, held out {found.result.holdout_lines}")
    for name in ("id", "name", "status", "job_id"):
        typer.echo(f"{name:<9} {getattr(found, name)}")
    typer.echo(f"{'teacher':<9} {language_model_text(found.settings.teacher)}")
    typer.echo(f"{'spent':<9} {spent_text(found.spent) if found.spent else '-'}")


def _row(found: Corpus) -> dict[str, Any]:
    result, spent = found.result, found.spent
    return {
        **found.model_dump(mode="json", include={"id", "name", "status", "created_at"}),
        "lines": result.lines if result else None,
        "held out": result.holdout_lines if result else None,
        "tokens": spent.prompt_tokens + spent.completion_tokens if spent else None,
    }
