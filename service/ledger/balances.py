"""What invoices came to so far, and the accounts that say so.

    outstanding = amount − credit notes − payments

The group's receivable holds what is outstanding while the invoice is open or paid, the operator's
bad debt while it is uncollectible; a void one has neither.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.tables import CreditNoteRow, InvoicePaymentRow, InvoiceRow

REVENUE = "operator:revenue"
CASH = "operator:cash"
BAD_DEBT = "operator:bad_debt"


def receivable(group_id: str) -> str:
    """The account of what a group owes; its balance is negative where the group is owed."""
    return f"receivable:{group_id}"


@dataclass(frozen=True)
class Balance:
    """Micro-units of the invoice's currency; all have the sign of the amount, or the other."""

    amount: int
    credited: int
    paid: int

    @property
    def outstanding(self) -> int:
        return self.amount - self.credited - self.paid

    @property
    def is_settled(self) -> bool:
        """Nothing is due any more; something may be owed back."""
        return self.outstanding == 0 or (self.outstanding > 0) != (self.amount > 0)


def balances(session: Session, rows: Collection[InvoiceRow]) -> dict[str, Balance]:
    """By the invoice's id."""
    ids = [row.id for row in rows]
    of_note, of_payment = CreditNoteRow.invoice_id, InvoicePaymentRow.invoice_id
    credited = _sums(session, of_note, CreditNoteRow.amount_micro_units, ids)
    paid = _sums(session, of_payment, InvoicePaymentRow.amount_micro_units, ids)
    return {
        row.id: Balance(row.amount_micro_units, credited.get(row.id, 0), paid.get(row.id, 0))
        for row in rows
    }


def _sums(
    session: Session,
    invoice_id: InstrumentedAttribute[str],
    amount: InstrumentedAttribute[int],
    ids: list[str],
) -> dict[str, int]:
    rows = session.execute(
        select(invoice_id, func.sum(amount)).where(invoice_id.in_(ids)).group_by(invoice_id)
    )
    return {id_: int(total) for id_, total in rows}
