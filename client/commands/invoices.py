"""`truthtune invoice …`, `truthtune receipt …` and `truthtune signing-key …`."""

from typing import Annotated

import typer

from client.commands.context import AsJson, connect, print_many, print_one
from client.commands.ids import InvoiceId, ReceiptId

invoices = typer.Typer(no_args_is_help=True, help="Invoices.")
receipts = typer.Typer(no_args_is_help=True, help="Receipts: what an amount was computed from.")
signing_keys = typer.Typer(no_args_is_help=True, help="The keys that receipts are signed with.")

# After `--`, so that an amount below 0 is no option.
Amount = Annotated[
    int, typer.Argument(help="In micro-units; write a negative one after `--`, as in `-- -500000`.")
]


@invoices.command("list")
def list_invoices(context: typer.Context, as_json: AsJson = False) -> None:
    """Invoices, newest first; a group sees its own."""
    with connect(context) as client:
        amounts = ["amount_micro_units", "amount_due_micro_units", "currency"]
        columns = ["id", "number", "status", *amounts, "group_id"]
        print_many(client.invoices.list(), columns, as_json)


@invoices.command("show")
def show_invoice(context: typer.Context, invoice_id: InvoiceId, as_json: AsJson = False) -> None:
    """One invoice."""
    with connect(context) as client:
        print_one(client.invoices.get(invoice_id), as_json)


@invoices.command("open")
def open_invoice(context: typer.Context, invoice_id: InvoiceId, as_json: AsJson = False) -> None:
    """Give a draft its number and its receipt, and show it to its group (operator)."""
    with connect(context) as client:
        print_one(client.invoices.open(invoice_id), as_json)


@invoices.command("void")
def void_invoice(context: typer.Context, invoice_id: InvoiceId, as_json: AsJson = False) -> None:
    """Ask for nothing any more; what was paid stays paid (operator)."""
    with connect(context) as client:
        print_one(client.invoices.void(invoice_id), as_json)


@invoices.command("write-off")
def write_off_invoice(
    context: typer.Context, invoice_id: InvoiceId, as_json: AsJson = False
) -> None:
    """Make what is due bad debt; it may still be paid (operator)."""
    with connect(context) as client:
        print_one(client.invoices.write_off(invoice_id), as_json)


@invoices.command("pay")
def pay_invoice(
    context: typer.Context,
    invoice_id: InvoiceId,
    amount: Amount,
    reference: Annotated[str, typer.Option(help="Where the money can be found.")],
    as_json: AsJson = False,
) -> None:
    """Record money that moved outside of the service (operator)."""
    with connect(context) as client:
        print_one(client.invoices.pay(invoice_id, amount, reference), as_json)


@invoices.command("payments")
def list_payments(context: typer.Context, invoice_id: InvoiceId, as_json: AsJson = False) -> None:
    """The payments of an invoice, newest first."""
    with connect(context) as client:
        columns = ["id", "amount_micro_units", "currency", "reference", "created_at"]
        print_many(client.invoices.payments(invoice_id), columns, as_json)


@invoices.command("credit")
def credit_invoice(
    context: typer.Context,
    invoice_id: InvoiceId,
    amount: Amount,
    reason: Annotated[str, typer.Option(help="The group reads it.")],
    as_json: AsJson = False,
) -> None:
    """Take back a part of an invoice, or all of it (operator)."""
    with connect(context) as client:
        print_one(client.invoices.credit(invoice_id, amount, reason), as_json)


@invoices.command("credit-notes")
def list_credit_notes(
    context: typer.Context, invoice_id: InvoiceId, as_json: AsJson = False
) -> None:
    """The credit notes of an invoice, newest first."""
    with connect(context) as client:
        columns = ["id", "number", "amount_micro_units", "currency", "reason", "created_at"]
        print_many(client.invoices.credit_notes(invoice_id), columns, as_json)


@receipts.command("list")
def list_receipts(context: typer.Context, as_json: AsJson = False) -> None:
    """Receipts, newest first; a group sees its own."""
    with connect(context) as client:
        columns = ["id", "invoice_id", "body.amount_micro_units", "body.currency", "created_at"]
        print_many(client.receipts.list(), columns, as_json)


@receipts.command("show")
def show_receipt(context: typer.Context, receipt_id: ReceiptId, as_json: AsJson = False) -> None:
    """One receipt, with every number of its payment."""
    with connect(context) as client:
        receipt = client.receipts.get(receipt_id)
    if as_json:
        print_one(receipt, as_json)
        return
    typer.echo(f"{receipt.id} for {receipt.invoice_id}, {receipt.created_at.isoformat()}")
    print_one(receipt.body, as_json)
    typer.echo(f"body_digest {receipt.body_digest}")
    if receipt.signature is not None:
        typer.echo(f"signature   {receipt.signature.signature} by {receipt.signature.key_id}")


@signing_keys.command("list")
def list_signing_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """The public keys, newest first; keep a copy to verify receipts with."""
    with connect(context) as client:
        columns = ["id", "public_key", "created_at", "retired_at"]
        print_many(client.signing_keys.list(), columns, as_json)


@signing_keys.command("rotate")
def rotate_signing_key(context: typer.Context, as_json: AsJson = False) -> None:
    """Retire the current key and make the one that signs from now on (operator)."""
    with connect(context) as client:
        print_one(client.signing_keys.rotate(), as_json)
