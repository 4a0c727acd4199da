"""SQL that reads the ledger's accounts, its head and its postings, for the operator alone."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api_schemas.base import ListPage
from api_schemas.books import AccountBalance, Ledger, Posting, SignedHead
from service.ledger.chain import head_value
from service.pages import PageQuery, fetch_rows, to_page
from service.signing import is_signed, public_keys
from service.tables import LedgerEntryRow, PostingRow


def get_ledger(session: Session) -> Ledger:
    return Ledger(head=_head(session), balances=_balances(session))


def list_postings(session: Session, page: PageQuery, account: str | None) -> ListPage[Posting]:
    """Newest first; of one account where it is given."""
    postings = select(PostingRow)
    if account is not None:
        postings = postings.where(PostingRow.account == account)
    rows, has_more = fetch_rows(session, postings, page, id_column=PostingRow.id)
    keys = {row.entry_key for row in rows}
    entries = session.scalars(select(LedgerEntryRow).where(LedgerEntryRow.entry_key.in_(keys)))
    by_key = {entry.entry_key: entry for entry in entries}
    return to_page([_posting(row, by_key[row.entry_key]) for row in rows], has_more)


def _head(session: Session) -> SignedHead | None:
    last = select(LedgerEntryRow).order_by(LedgerEntryRow.sequence.desc()).limit(1)
    entry = session.scalar(last)
    if entry is None:
        return None
    return SignedHead(
        sequence=entry.sequence,
        hash=entry.hash,
        signing_key_id=entry.signing_key_id,
        signature=entry.signature,
        is_signed=_is_signed(session, entry),
        created_at=entry.created_at,
    )


def _is_signed(session: Session, entry: LedgerEntryRow) -> bool:
    key = public_keys(session).get(entry.signing_key_id or "")
    if key is None or entry.signature is None:
        return False
    return is_signed(head_value(entry), entry.signature, key)


def _balances(session: Session) -> list[AccountBalance]:
    total = func.sum(PostingRow.amount_micro_units)
    rows = session.execute(
        select(PostingRow.account, PostingRow.currency, total, func.count())
        .group_by(PostingRow.account, PostingRow.currency)
        .order_by(PostingRow.account, PostingRow.currency)
    )
    return [
        AccountBalance(
            account=account, currency=currency, balance_micro_units=int(balance), postings=count
        )
        for account, currency, balance, count in rows
    ]


def _posting(row: PostingRow, entry: LedgerEntryRow) -> Posting:
    return Posting(
        id=row.id,
        sequence=entry.sequence,
        entry_key=row.entry_key,
        kind=entry.kind,
        account=row.account,
        amount_micro_units=row.amount_micro_units,
        currency=row.currency,
        invoice_id=row.invoice_id,
        created_at=row.created_at,
    )
