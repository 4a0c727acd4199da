"""The commands of the compute plane. Whatever is heavy is imported by the command that needs it."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from api_schemas.errors import InvalidInput
from api_schemas.receipt_checks import Finding, Revaluation

_PANEL = "Without a service"

app = typer.Typer(no_args_is_help=True, help="Base models, and the mechanism on its own.")
base_model = typer.Typer(no_args_is_help=True, help="Base models that rounds start from.")
app.add_typer(base_model, name="base-model", rich_help_panel=_PANEL)


@base_model.command("prepare")
def prepare_base_model(
    name: Annotated[
        str,
        typer.Argument(
            help="`smollm2-135m-instruct`, a hub id, a folder in Hugging Face format, or a GGUF "
            "file, which is converted once."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Have a base model at hand and print its folder in Hugging Face format."""
    from workers.base_models import prepare

    folder = str(prepare(name))
    typer.echo(json.dumps({"base_model": name, "folder": folder}) if as_json else folder)


@app.command("solve", rich_help_panel=_PANEL)
def solve(
    game: Annotated[
        str, typer.Argument(help="A game as docs/solve.md says; `-` reads standard input.")
    ],
    payment_rule: Annotated[
        Literal["affine_maximizer", "revenue_maximizing"],
        typer.Option(help="What a group pays; the second adds a surcharge."),
    ] = "affine_maximizer",
    out: Annotated[
        Path | None, typer.Option(help="Write the outcome here, not to standard output.")
    ] = None,
    policies: Annotated[
        Path | None,
        typer.Option(
            help="For a game with arrays: a .npy file for the policies, prompts × responses."
        ),
    ] = None,
) -> None:
    """Choose, value and price the outcome of an explicit game; needs no service.

    Prints policies (unless the game is given by arrays), valuations, welfare, payments and
    utilities as JSON. Malformed input: exit status 2 and a line with its JSON path.
    """
    from workers.solving.run import solve_file

    try:
        solve_file(game, payment_rule, out, policies)
    except (InvalidInput, OSError) as error:  # OSError: a disk that is full or fails
        typer.echo(f"truthtune: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None


@app.command("audit-game", rich_help_panel=_PANEL)
def audit_game(
    game: Annotated[
        str, typer.Argument(help="A pool game as docs/solve.md says; `-` reads standard input.")
    ],
    payment_rule: Annotated[
        Literal["affine_maximizer", "revenue_maximizing"],
        typer.Option(help="What a group pays; the second adds a surcharge."),
    ] = "affine_maximizer",
    max_size: Annotated[
        int | None, typer.Option(min=1, help="Largest size that may be reported; default: any.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the result here, not to standard output.")
    ] = None,
) -> None:
    """Tell what false reports would gain in an explicit game; needs no service.

    Every misreport of `truthtune audit`, for every group, with and without payments, as JSON.
    Malformed input: exit status 2 and a line with its JSON path.
    """
    from api_schemas.audits import AuditCreate
    from workers.solving.audit import audit_file

    try:
        audit_file(game, payment_rule, AuditCreate(), max_size, out)
    except InvalidInput as error:
        typer.echo(f"truthtune: {' '.join(error.message.split())}", err=True)
        raise typer.Exit(2) from None


@app.command("revalue-receipt", hidden=True)
def revalue_receipt(
    stated: Annotated[str, typer.Argument(help="A `Revaluation` as JSON.")],
    adapter: Annotated[Path, typer.Argument(help="Folder of the delivered adapter.")],
    pool: Annotated[Path, typer.Argument(help="The pool artifact.")],
    data: Annotated[
        list[Path] | None, typer.Option(help="Files that the reward model is made from.")
    ] = None,
    tolerance: Annotated[float, typer.Option(help="How far a valuation may be off.")] = 0.0,
) -> list[Finding]:
    """The part of `truthtune receipt verify` that runs the model; that prints what this returns."""
    from workers.receipts.revaluation import revalue

    return revalue(Revaluation.model_validate_json(stated), adapter, pool, data or [], tolerance)


if __name__ == "__main__":
    app()
