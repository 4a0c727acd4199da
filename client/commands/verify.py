"""`truthtune receipt verify`: check a receipt without asking the service."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from api_schemas.certificates import Certificate
from api_schemas.errors import InvalidInput
from api_schemas.receipt_checks import Finding, ReceiptVerification, Revaluation
from api_schemas.rounds import Round
from client.commands.context import AsJson, print_one
from client.receipts.evidence import Evidence, read_announcement, read_report
from client.receipts.files import read_document, read_receipt
from client.receipts.keys import PublicKey, read_keys
from client.receipts.verification import verify

_COMPUTING = "revalue-receipt"
"""The command of `workers.cli` that computes a valuation again."""
_TOLERANCE = 0.01


def verify_receipt(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="As `receipt show --json` prints it; `-` reads standard input.")
    ],
    public_key: Annotated[
        list[str] | None,
        typer.Option(
            help="Base 64 of 32 bytes, a PEM file, or the JSON of GET /v1/keys/signing; repeatable."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="As `report show --json` prints it, with its salt.")
    ] = None,
    announcement: Annotated[
        Path | None, typer.Option(help="JSON of the announcement, or of the round.")
    ] = None,
    round_: Annotated[
        Path | None, typer.Option("--round", help="As `round show --json` prints it.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="As `round certificate --json` prints it.")
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="Folder of the delivered adapter.")] = None,
    pool: Annotated[Path | None, typer.Option(help="As `round pool` downloads it.")] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Files that your reward model is made from, in the order in which the report "
            "names them, or the content of the trained one that it names; repeatable."
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0,
            help="How far a valuation, in [0, 1], may be from the receipt's, and a divergence five "
            "times as much: GPUs compute rounds in bfloat16. The differences found are printed.",
        ),
    ] = _TOLERANCE,
    as_json: AsJson = False,
) -> None:
    """Check a receipt: signature, inclusion, arithmetic and, with the adapter and the pool, your
    own valuation.

    Nothing is asked of the service. Exit status 0 if no check failed, 1 if one did, 2 if a file
    can't be read.
    """
    try:
        keys = _keys(public_key or [])
        evidence = _evidence(report, announcement, round_, certificate, adapter, pool)
        compute = partial(_revalue, context, adapter, pool, data or [], tolerance)
        found = verify(read_receipt(file), keys, evidence, compute)
    except InvalidInput as error:
        typer.echo(f"truthtune: {' '.join(error.message.split())}", err=True)
        raise typer.Exit(2) from None
    _print(found, as_json)
    if not found.verified:
        raise typer.Exit(1)


def _keys(given: list[str]) -> list[PublicKey]:
    if not given:
        raise InvalidInput("give --public-key: a key out of the receipt itself would prove nothing")
    return [key for each in given for key in read_keys(each)]


def _evidence(
    report: Path | None,
    announcement: Path | None,
    round_: Path | None,
    certificate: Path | None,
    adapter: Path | None,
    pool: Path | None,
) -> Evidence:
    rules = announcement or round_
    return Evidence(
        report=read_report(report) if report else None,
        announcement=read_announcement(rules) if rules else None,
        round=read_document(round_, Round) if round_ else None,
        certificate=read_document(certificate, Certificate) if certificate else None,
        adapter=adapter,
        pool=pool,
    )


def _revalue(
    context: typer.Context,
    adapter: Path | None,
    pool: Path | None,
    data: list[Path],
    tolerance: float,
    stated: Revaluation,
) -> list[Finding] | None:
    """By the workers' command, if they are installed: the client itself runs no model."""
    root: Any = context.find_root().command
    command = root.get_command(context, _COMPUTING)
    if command is None:
        return None
    try:
        found: list[Finding] = command.callback(
            stated=stated.model_dump_json(),
            adapter=adapter,
            pool=pool,
            data=data,
            tolerance=tolerance,
        )
    except ModuleNotFoundError:
        return None
    return found


def _print(found: ReceiptVerification, as_json: bool) -> None:
    if as_json:
        print_one(found, as_json)
        return
    for finding in found.findings:
        result = finding.result.replace("_", " ")
        typer.echo(f"{finding.check}: {result}: {finding.detail}")
    typer.echo("No check of a receipt proves:")
    for claim in found.not_proven:
        typer.echo(f"- {claim}")
    failures = [finding.check for finding in found.findings if finding.result == "failed"]
    ending = f"FAILED: {', '.join(failures)}" if failures else "no check failed"
    typer.echo(f"{found.receipt_id}: {ending}")
