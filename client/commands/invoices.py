"""`truthtune invoice …` and `truthtune receipt …`."""

import typer

from client.commands.context import AsJson, connect, print_many, print_one

invoices = typer.Typer(no_args_is_help=True, help="Invoices.")
receipts = typer.Typer(no_args_is_help=True, help="Receipts: what an amount was computed from.")


@invoices.command("list")
def list_invoices(context: typer.Context, as_json: AsJson = False) -> None:
    """Invoices, newest first; a group sees its own."""
    with connect(context) as client:
        columns = ["id", "number", "status", "amount_micro_units", "currency", "group_id"]
        print_many(client.invoices.list(), columns, as_json)


@invoices.command("show")
def show_invoice(context: typer.Context, invoice_id: str, as_json: AsJson = False) -> None:
    """One invoice."""
    with connect(context) as client:
        print_one(client.invoices.get(invoice_id), as_json)


@receipts.command("list")
def list_receipts(context: typer.Context, as_json: AsJson = False) -> None:
    """Receipts, newest first; a group sees its own."""
    with connect(context) as client:
        columns = ["id", "invoice_id", "body.amount_micro_units", "body.currency", "created_at"]
        print_many(client.receipts.list(), columns, as_json)


@receipts.command("show")
def show_receipt(context: typer.Context, receipt_id: str, as_json: AsJson = False) -> None:
    """One receipt, with every number of its payment."""
    with connect(context) as client:
        receipt = client.receipts.get(receipt_id)
    if as_json:
        print_one(receipt, as_json)
        return
    typer.echo(f"{receipt.id} for {receipt.invoice_id}, {receipt.created_at.isoformat()}")
    print_one(receipt.body, as_json)
    typer.echo(f"body_digest {receipt.body_digest}")
