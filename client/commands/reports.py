"""`truthtune report …`: a group's own report."""

from pathlib import Path
from typing import Annotated

import typer

from api_schemas.errors import InvalidInput
from api_schemas.preference_methods import TfidfBradleyTerry
from api_schemas.reports import ReportPut
from api_schemas.reward_models import PreferenceDataSpec, RewardModelSpec
from client.client import Truthtune
from client.commands.context import AsJson, connect, print_one, read_document, validated

app = typer.Typer(no_args_is_help=True, help="Your group's report in a round (group keys).")


@app.command()
def submit(
    context: typer.Context,
    round_id: str,
    size: Annotated[int, typer.Option(help="Agents in the group.")],
    reward_model: Annotated[
        Path | None, typer.Option(help="A reward model's spec, JSON or TOML.")
    ] = None,
    preferences: Annotated[
        Path | None,
        typer.Option(help="Preference pairs, JSONL; uploaded, and a reward model is fitted."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Submit or replace your report, while the round is open."""
    with connect(context) as client:
        spec = _reward_model(client, reward_model, preferences)
        body = validated(ReportPut, {"size": size, "reward_model": spec}, "the report")
        print_one(client.rounds.put_report(round_id, body), as_json)


@app.command()
def show(context: typer.Context, round_id: str, as_json: AsJson = False) -> None:
    """Your report, also after the close."""
    with connect(context) as client:
        print_one(client.rounds.get_report(round_id), as_json)


@app.command()
def withdraw(context: typer.Context, round_id: str, as_json: AsJson = False) -> None:
    """Take your group out of the round, while it is open."""
    with connect(context) as client:
        print_one(client.rounds.delete_report(round_id), as_json)


def _reward_model(
    client: Truthtune, spec: Path | None, preferences: Path | None
) -> RewardModelSpec:
    if (spec is None) == (preferences is None):
        raise InvalidInput("give either --reward-model or --preferences", param="reward_model")
    if spec is not None:
        found: RewardModelSpec = validated(RewardModelSpec, read_document(spec), str(spec))
        return found
    assert preferences is not None
    file = client.files.upload(preferences, "preferences")
    method = TfidfBradleyTerry(name="tfidf_bradley_terry")
    return PreferenceDataSpec(type="preference_data", file_id=file.id, method=method)
