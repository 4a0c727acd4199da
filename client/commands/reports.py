"""`truthtune report …`: a group's own report."""

from typing import Annotated

import typer

from api_schemas.reports import ReportPut
from client.commands.context import AsJson, connect, print_one, validated
from client.commands.ids import RoundId
from client.commands.previews import preview
from client.commands.specs import (
    AdapterOption,
    BaseModelOption,
    MembersOption,
    MethodJson,
    MethodOption,
    PreferencesOption,
    SpecFile,
    SpecOptions,
    TrainedOption,
    reward_model_spec,
)

app = typer.Typer(no_args_is_help=True, help="Your group's report in a round (group keys).")
app.command()(preview)


@app.command()
def submit(
    context: typer.Context,
    round_id: RoundId,
    size: Annotated[int, typer.Option(help="Agents in the group.")],
    spec: SpecFile = None,
    preferences: PreferencesOption = None,
    method: MethodOption = None,
    method_json: MethodJson = None,
    members: MembersOption = None,
    adapter: AdapterOption = None,
    base_model: BaseModelOption = None,
    trained: TrainedOption = None,
    as_json: AsJson = False,
) -> None:
    """Submit or replace your report, while the round is open."""
    options = SpecOptions(
        spec, preferences, method, method_json, adapter, base_model, trained, members
    )
    with connect(context) as client:
        found = reward_model_spec(client, options)
        body = validated(ReportPut, {"size": size, "reward_model": found}, "the report")
        print_one(client.rounds.put_report(round_id, body), as_json)


@app.command()
def show(context: typer.Context, round_id: RoundId, as_json: AsJson = False) -> None:
    """Your report, also after the close."""
    with connect(context) as client:
        print_one(client.rounds.get_report(round_id), as_json)


@app.command()
def withdraw(context: typer.Context, round_id: RoundId, as_json: AsJson = False) -> None:
    """Take your group out of the round, while it is open."""
    with connect(context) as client:
        print_one(client.rounds.delete_report(round_id), as_json)
