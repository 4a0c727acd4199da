"""What must hold of a finished round, whatever happened on the way; looked at from the outside
where a client can, and in the rows where only they can tell."""

from collections import Counter
from collections.abc import Sequence

from journal import Journal
from sqlalchemy import func, select
from starlette.testclient import TestClient

from service.database import Database
from service.dependencies import AppState
from service.ledger import verification
from service.tables import InvoicePaymentRow, InvoiceRow, PostingRow, ReceiptRow

NOTHING_WRONG = {
    "reports_lost": 0,
    "invoices_lost": 0,
    "invoices_doubled": 0,
    "receipts_lost": 0,
    "numbers_missing": 0,
    "payments_wrong": 0,
    "entries_not_zero": 0,
    "chain_faults": 0,
}


def look_at(
    client: TestClient, journal: Journal, operator_key: str, groups: Sequence[str]
) -> dict[str, int]:
    """Counts of what went wrong; all 0, as `NOTHING_WRONG`, if nothing did."""
    state: AppState = client.app.state.truthtune  # type: ignore[attr-defined]
    ids = [journal[f"group {name}"]["id"] for name in groups]
    with state.database.read() as session:
        invoices = session.scalars(select(InvoiceRow)).all()
        receipts = session.scalar(select(func.count()).select_from(ReceiptRow)) or 0
        paid = Counter(session.scalars(select(InvoicePaymentRow.invoice_id)))
        sums = session.execute(
            select(func.sum(PostingRow.amount_micro_units)).group_by(
                PostingRow.entry_key, PostingRow.currency
            )
        ).all()
    billed = Counter(invoice.group_id for invoice in invoices)
    numbers = {invoice.number for invoice in invoices}
    return {
        "reports_lost": sum(not _has_report(client, journal, name) for name in groups),
        "invoices_lost": sum(billed[group_id] == 0 for group_id in ids),
        "invoices_doubled": sum(times > 1 for times in billed.values()),
        "receipts_lost": len(invoices) - receipts,
        "numbers_missing": len(set(range(1, len(invoices) + 1)) - numbers),
        "payments_wrong": sum(
            invoice.status != "paid" or paid[invoice.id] != 1 for invoice in invoices
        ),
        "entries_not_zero": sum(total != 0 for (total,) in sums),
        "chain_faults": len(chain_faults(state)),
    }


def _has_report(client: TestClient, journal: Journal, name: str) -> bool:
    """The author reads what was acknowledged, to the byte."""
    acknowledged = journal[f"report {name}"]
    key = journal[f"key {name}"]["secret"]
    answer = client.get(
        f"/v1/rounds/{acknowledged['round_id']}/report", headers={"Authorization": f"Bearer {key}"}
    )
    return bool(answer.is_success and answer.json() == acknowledged)


def chain_faults(state: AppState) -> list[str]:
    return chain_faults_in(state.database)


def chain_faults_in(database: Database) -> list[str]:
    """What `truthtune ledger verify` says."""
    with database.read() as session:
        return list(verification.faults(session))
