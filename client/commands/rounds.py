"""`truthtune round …`: announce, open, close, look."""

from pathlib import Path
from typing import Annotated

import typer

from api_schemas.outcomes import Outcome
from api_schemas.rounds import RoundCreate
from client.certificate_tables import certificate_parts
from client.commands.context import (
    AsJson,
    connect,
    console,
    print_many,
    print_one,
    print_place,
    read_document,
    validated,
)
from client.commands.ids import RoundId
from client.commands.quotes import quote
from client.outcome_tables import (
    agreement_table,
    group_table,
    summary_lines,
    world_outcome_table,
)
from client.transfers import Transfers

app = typer.Typer(no_args_is_help=True, help="Rounds: announced, opened, closed, settled.")
app.command()(quote)


@app.command()
def create(
    context: typer.Context,
    announcement: Annotated[Path, typer.Argument(help="A JSON or TOML file.")],
    prompts_file_id: Annotated[
        str | None, typer.Option(help="Takes the place of the file's prompts_file_id.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Announce a round, as a draft (operator)."""
    value = read_document(announcement)
    if prompts_file_id is not None and isinstance(value, dict):
        value["prompts_file_id"] = prompts_file_id
    body: RoundCreate = validated(RoundCreate, value, str(announcement))
    with connect(context) as client:
        print_one(client.rounds.create(body), as_json)


@app.command("open")
def open_round(context: typer.Context, round_id: RoundId, as_json: AsJson = False) -> None:
    """Take reports from now on (operator)."""
    with connect(context) as client:
        print_one(client.rounds.open(round_id), as_json)


@app.command()
def close(context: typer.Context, round_id: RoundId, as_json: AsJson = False) -> None:
    """End the reports and queue the job (operator)."""
    with connect(context) as client:
        print_one(client.rounds.close(round_id), as_json)


@app.command()
def cancel(context: typer.Context, round_id: RoundId, as_json: AsJson = False) -> None:
    """Give a round up for good; nobody is invoiced (operator)."""
    with connect(context) as client:
        print_one(client.rounds.cancel(round_id), as_json)


@app.command()
def show(context: typer.Context, round_id: RoundId, as_json: AsJson = False) -> None:
    """One round with its announcement."""
    with connect(context) as client:
        print_one(client.rounds.get(round_id), as_json)


@app.command("list")
def list_rounds(context: typer.Context, as_json: AsJson = False) -> None:
    """Rounds, newest first."""
    with connect(context) as client:
        columns = ["id", "state", "announcement.name", "job_id", "model_id", "created_at"]
        print_many(client.rounds.list(), columns, as_json)


@app.command()
def outcome(context: typer.Context, round_id: RoundId, as_json: AsJson = False) -> None:
    """Valuations, payments and optimality gaps of a settled round."""
    with connect(context) as client:
        found = client.rounds.outcome(round_id)
    if as_json:
        print_one(found, as_json)
    else:
        _print_outcome(found)


@app.command()
def unseal(
    context: typer.Context,
    round_id: RoundId,
    reason: Annotated[str, typer.Option(help="Kept in the audit log, and every group is told.")],
    as_json: AsJson = False,
) -> None:
    """Look at the reports of a closed round (operator)."""
    with connect(context) as client:
        found = client.rounds.unseal_reports(round_id, reason)
    if as_json:
        print_one(found, as_json)
        return
    for report in found.reports:
        print_one(report, as_json)


@app.command()
def certificate(context: typer.Context, round_id: RoundId, as_json: AsJson = False) -> None:
    """What a false report gains at most, what that rests on, and all digests."""
    with connect(context) as client:
        found = client.rounds.certificate(round_id)
    if as_json:
        print_one(found, as_json)
        return
    screen = console()
    for part in certificate_parts(found, {}):
        screen.print(part, soft_wrap=True)


@app.command()
def pool(
    context: typer.Context,
    round_id: RoundId,
    file: Annotated[Path, typer.Argument(help="Where to put it.")],
    as_json: AsJson = False,
) -> None:
    """Download the responses that payments were computed on, checked by sha256."""
    with connect(context) as client, Transfers(visible=not as_json) as transfers:
        target = client.rounds.download_pool(round_id, file, transfers.show)
    print_place(target, as_json, round_id=round_id)


def _print_outcome(outcome: Outcome) -> None:
    screen = console()
    screen.print(group_table(outcome, {}))
    if outcome.worlds:
        screen.print(world_outcome_table(outcome, {}))
    else:
        screen.print("with fewer than three groups, welfare would tell what the other reported")
    if (agreement := agreement_table(outcome, {})) is not None:
        screen.print(agreement)
    for line in summary_lines(outcome, {}):
        screen.print(line, soft_wrap=True)
