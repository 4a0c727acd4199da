"""`truthtune report preview`: what would the report say?"""

from typing import Annotated

import typer

from api_schemas.reports import ReportPut
from client.commands.context import AsJson, connect, console, print_one, validated
from client.commands.ids import RoundId
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
    TrainedOption,
    reward_model_spec,
)
from client.preview_tables import preview_parts


def preview(
    context: typer.Context,
    round_id: RoundId,
    size: Annotated[int, typer.Option(help="Agents in the group.")] = 1,
    spec: SpecFile = None,
    preferences: PreferencesOption = None,
    method: MethodOption = None,
    method_json: MethodJson = None,
    members: MembersOption = None,
    adapter: AdapterOption = None,
    base_model: BaseModelOption = None,
    trained: TrainedOption = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the job and show the result.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Score samples with a report without submitting it: what would it say? Nobody else sees it."""
    options = SpecOptions(
        spec, preferences, method, method_json, adapter, base_model, trained, members
    )
    with connect(context) as client:
        found = reward_model_spec(client, options)
        body = validated(ReportPut, {"size": size, "reward_model": found}, "the report")
        made = client.previews.create(round_id, body)
        if wait:
            follow(client, made.job_id, "preview", as_json)
            made = client.previews.get(made.id)
    if as_json or made.result is None:
        print_one(made, as_json)
        return
    screen = console()
    for part in preview_parts(made.result):
        screen.print(part, soft_wrap=True)
    typer.echo(f"preview {made.id}")
