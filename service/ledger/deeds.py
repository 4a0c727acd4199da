"""What the operator does to one invoice: at most once for each Idempotency-Key, and audited."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api_schemas.ids import InvoiceId
from service import audit
from service.auth import Operator, Principal
from service.dependencies import State
from service.idempotency import Body, Idempotent, IdempotentPost
from service.ledger.repository import lock_invoice
from service.tables import InvoiceRow
from service.vault import Vault


@dataclass(frozen=True)
class DeedOnInvoice:
    """A POST below an invoice, of the operator's."""

    invoice_id: str
    principal: Principal
    vault: Vault
    idempotent: IdempotentPost

    @property
    def session(self) -> Session:
        return self.idempotent.session

    def lock_invoice(self, action: str) -> InvoiceRow:
        """The row, held until the transaction ends; `action` is what the audit log will have.

        Raises NotFound.
        """
        row = lock_invoice(self.session, self.principal, self.invoice_id)
        audit.record(self.session, self.principal, action, self.invoice_id)
        return row

    def run(self, asked: BaseModel | None, kind: type[Body], work: Callable[[], Body]) -> Body:
        """The answer of `work`, or the one that the same key and request had before."""
        return self.idempotent.run(asked.model_dump(mode="json") if asked else None, kind, work)


async def _deed(
    invoice_id: InvoiceId, principal: Operator, state: State, idempotent: Idempotent
) -> DeedOnInvoice:
    return DeedOnInvoice(invoice_id, principal, state.vault, idempotent)


# Scope "function", as that of the transaction it holds.
Deed = Annotated[DeedOnInvoice, Depends(_deed, scope="function")]
