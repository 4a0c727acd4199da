"""`truthtune reward-model …`: reward models made ahead of a round, and best-of-n with them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from api_schemas.errors import InvalidInput
from api_schemas.reward_models import Candidates, NewRewardModel, Reranking, RewardModel
from client.commands.context import (
    AsJson,
    connect,
    console,
    print_one,
    print_place,
    print_table,
    read_json_lines,
    validated,
    write_file,
)
from client.commands.ids import RewardModelId
from client.commands.jobs import follow
from client.commands.specs import (
    AdapterOption,
    BaseModelOption,
    MembersOption,
    MethodJson,
    MethodOption,
    PreferencesOption,
    SpecFile,
    SpecOptions,
    data_file,
    reward_model_spec,
)
from client.report_card_tables import accuracy_text, card_parts

app = typer.Typer(no_args_is_help=True, help="Reward models of your own, made ahead of a round.")

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the job to its end.")]
Out = Annotated[Path, typer.Option(help="The file to write.")]


@app.command()
def create(
    context: typer.Context,
    name: str,
    spec: SpecFile = None,
    preferences: PreferencesOption = None,
    method: MethodOption = None,
    method_json: MethodJson = None,
    members: MembersOption = None,
    adapter: AdapterOption = None,
    base_model: BaseModelOption = None,
    evaluation: Annotated[
        str | None,
        typer.Option(help="Preference data it isn't fitted to: a file, or the id of one."),
    ] = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Fit a reward model, and show how good it is. A report may then name it (--trained)."""
    options = SpecOptions(
        spec, preferences, method, method_json, adapter, base_model, None, members
    )
    with connect(context) as client:
        asked: NewRewardModel = validated(
            NewRewardModel, reward_model_spec(client, options), "the reward model"
        )
        evaluated_on = None if evaluation is None else data_file(client, evaluation)
        made = client.reward_models.create(name, asked, evaluated_on)
        if wait:
            follow(client, made.job_id, "reward_model", as_json)
            made = client.reward_models.get(made.id)
    _show(made, as_json)


@app.command("list")
def list_reward_models(context: typer.Context, as_json: AsJson = False) -> None:
    """Your reward models, newest first, with their accuracy on held-out prompts."""
    with connect(context) as client:
        found = list(client.reward_models.list())
    columns = ["id", "name", "method", "status", "accuracy", "created_at"]
    print_table(found, _row, columns, as_json)


@app.command()
def show(context: typer.Context, reward_model_id: RewardModelId, as_json: AsJson = False) -> None:
    """A reward model and its report card."""
    with connect(context) as client:
        _show(client.reward_models.get(reward_model_id), as_json)


@app.command()
def wait(context: typer.Context, reward_model_id: RewardModelId, as_json: AsJson = False) -> None:
    """Follow a reward model's job until it is ready; exits with 1 if it never will be."""
    with connect(context) as client:
        made = client.reward_models.get(reward_model_id)
        follow(client, made.job_id, "reward_model", as_json)
        _show(client.reward_models.get(reward_model_id), as_json)


@app.command()
def card(
    context: typer.Context, reward_model_id: RewardModelId, out: Out, as_json: AsJson = False
) -> None:
    """Write the report card as one drawn page, SVG."""
    with connect(context) as client:
        drawing = client.reward_models.report_card(reward_model_id)
    write_file(out, drawing)
    print_place(out, as_json, reward_model_id=reward_model_id)


@app.command()
def download(
    context: typer.Context, reward_model_id: RewardModelId, out: Out, as_json: AsJson = False
) -> None:
    """Write the fitted model: a line of JSON, then the method's own bytes."""
    with connect(context) as client:
        content = client.reward_models.content(reward_model_id)
    write_file(out, content)
    print_place(out, as_json, reward_model_id=reward_model_id)


@app.command()
def rerank(
    context: typer.Context,
    reward_model_id: RewardModelId,
    candidates: Annotated[
        Path | None, typer.Argument(help='JSON lines of {"prompt", "responses"}.')
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="One prompt, in place of a file.")] = None,
    response: Annotated[list[str] | None, typer.Option(help="Its responses; repeatable.")] = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Put each prompt's responses in order, and show the best (best-of-n)."""
    items = _items(candidates, prompt, response or [])
    with connect(context) as client:
        made = client.reward_models.rerank(reward_model_id, items)
        if wait:
            follow(client, made.job_id, "reranking", as_json)
            made = client.reward_models.get_reranking(made.id)
    if as_json or made.result is None:
        print_one(made, as_json)
    else:
        _show_best(made, items)


def _items(file: Path | None, prompt: str | None, responses: list[str]) -> list[Candidates]:
    if (file is None) == (prompt is None) or (responses and file is not None):
        raise InvalidInput("give either a file of candidates, or --prompt with each --response")
    if file is not None:
        return [
            validated(Candidates, value, f"{file}, line {number}")
            for number, value in read_json_lines(file)
        ]
    return [validated(Candidates, {"prompt": prompt, "responses": responses}, "--response")]


def _show(found: RewardModel, as_json: bool) -> None:
    if as_json:
        print_one(found, as_json)
        return
    screen = console()
    if found.report_card is not None:
        for part in card_parts(found.report_card):
            screen.print(part, soft_wrap=True)
    elif found.status == "succeeded":
        screen.print("no report card: there was no data to measure it on (--evaluation)")
    for name in ("id", "name", "status", "digest"):
        typer.echo(f"{name:<7} {getattr(found, name) or '-'}")
    typer.echo(f"method  {_method_of(found)}")


def _show_best(made: Reranking, items: list[Candidates]) -> None:
    assert made.result is not None
    for item, ranked in zip(items, made.result, strict=True):
        best = ranked.order[0]
        typer.echo(f"{ranked.scores[best]:+.4f}  {item.responses[best]}")
    largest = max(ranked.kl_bound for ranked in made.result)
    typer.echo(f"at most {largest:.4f} nats from the model that the responses were drawn from")
    typer.echo(f"reranking {made.id}")


def _method_of(found: RewardModel) -> str:
    spec = found.reward_model
    return spec.method.name if spec.type == "preference_data" else spec.type


def _row(found: RewardModel) -> dict[str, Any]:
    accuracy = found.report_card.accuracy if found.report_card else None
    return {
        **found.model_dump(mode="json", include={"id", "name", "status", "created_at"}),
        "method": _method_of(found),
        "accuracy": accuracy_text(accuracy),
    }
