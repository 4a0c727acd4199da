"""`truthtune audit`: would a false report have gained its group anything?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from api_schemas.audits import Audit, AuditCreate
from api_schemas.errors import InvalidInput
from client.audit_tables import audit_table, conclusion, retrained_table
from client.commands.context import AsJson, connect, console, print_one, validated, write_file
from client.commands.ids import RoundId, complete_group
from client.commands.jobs import follow

_DEFAULT = "Repeatable; takes the place of the default list."
Factors = list[float] | None


def audit(
    context: typer.Context,
    round_id: RoundId,
    group: Annotated[
        list[str] | None,
        typer.Option(
            help="Id or name of a group to audit; repeatable.", autocompletion=complete_group
        ),
    ] = None,
    alpha: Annotated[Factors, typer.Option(help=f"Factor on the size. {_DEFAULT}")] = None,
    sharpen_beta: Annotated[Factors, typer.Option(help=f"Power of rewards. {_DEFAULT}")] = None,
    oppose_beta: Annotated[
        Factors, typer.Option(help=f"Share of the others' rewards to subtract. {_DEFAULT}")
    ] = None,
    spike: Annotated[
        bool, typer.Option("--spike/--no-spike", help="Try rewarding only the best responses.")
    ] = True,
    retrain: Annotated[
        list[str] | None,
        typer.Option(help="GROUP:STRATEGY:PARAMETER to train the models for; repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the audit here, as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the drawing here, as SVG.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the job and show the result.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Play a settled round again with false reports, and tell what each would gain (operator)."""
    if not wait and (out or plot):
        raise InvalidInput("--out and --plot need the result: leave --no-wait out")
    with connect(context) as client:
        names = {known.id: known.name for known in client.groups.list()}
        lists = {"alphas": alpha, "sharpen_betas": sharpen_beta, "oppose_betas": oppose_beta}
        given: dict[str, Any] = {name: values for name, values in lists.items() if values}
        if group:
            given["group_ids"] = [_group_id(text, names) for text in group]
        given["retrain"] = [_misreport(text, names) for text in retrain or []]
        settings = validated(AuditCreate, given | {"spike": spike}, "the audit")
        made = client.audits.create(round_id, settings)
        if wait:
            follow(client, made.job_id, "audit", as_json, names)
            made = client.audits.get(made.id)
        if out:
            write_file(out, made.model_dump_json(indent=2).encode() + b"\n")
        if plot:
            write_file(plot, client.audits.plot(made.id))
    if as_json or made.result is None:
        print_one(made, as_json)
    else:
        _show(made, names)


def _group_id(text: str, names: Mapping[str, str]) -> str:
    """A group's id from its name, which is unique; anything else is left for the service."""
    return next((group_id for group_id, name in names.items() if name == text), text)


def _misreport(text: str, names: Mapping[str, str]) -> dict[str, Any]:
    parts = text.rsplit(":", 2)  # a group's name may hold a colon
    if len(parts) != 3:
        raise InvalidInput(f"--retrain {text!r} is not GROUP:STRATEGY:PARAMETER")
    group, strategy, parameter = parts
    return {"group_id": _group_id(group, names), "strategy": strategy, "parameter": parameter}


def _show(found: Audit, names: Mapping[str, str]) -> None:
    assert found.result is not None
    screen = console()
    screen.print(audit_table(found.result, names))
    if found.result.retrained:
        screen.print(retrained_table(found.result, names))
    screen.print(conclusion(found.result), soft_wrap=True)
    typer.echo(f"audit {found.id}")
