"""What holds of the rows at every moment, between any two transactions."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.database import Database
from service.tables import (
    InvoiceRow,
    JobEventRow,
    JobRow,
    PostingRow,
    ReceiptRow,
    ReportRow,
    RoundRow,
)

ROUND_STEPS = {
    "draft": {"open", "cancelled"},
    "open": {"closed", "failed", "cancelled"},  # failed: nobody reported
    "closed": {"running", "failed", "cancelled"},
    "running": {"settled", "failed", "cancelled"},
    "failed": {"closed"},
    "settled": set(),
    "cancelled": set(),
}
JOB_STEPS = {
    "queued": {"running", "failed", "cancelled"},
    "running": {"succeeded", "failed", "cancelled"},
    "failed": {"queued"},
    "cancelled": {"queued"},
    "succeeded": set(),
}
_TAKES_REPORTS = ("draft", "open")


@dataclass
class Seen:
    """What was seen last, to see what may not change."""

    rounds: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, tuple[str, int]] = field(default_factory=dict)
    receipts: dict[str, tuple[object, ...]] = field(default_factory=dict)
    sealed: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)

    def check(self, database: Database) -> None:
        """Raises AssertionError, saying what no longer holds."""
        with database.read() as session:
            self._check_rounds(session)
            self._check_jobs(session)
            self._check_reports(session)
            self._check_receipts(session)
            _check_money(session)
            _check_events(session)

    def _check_rounds(self, session: Session) -> None:
        for id_, state in session.execute(select(RoundRow.id, RoundRow.state)):
            before = self.rounds.get(id_, state)
            assert state == before or state in ROUND_STEPS[before], f"{id_}: {before} → {state}"
            self.rounds[id_] = state

    def _check_jobs(self, session: Session) -> None:
        found = session.execute(select(JobRow.id, JobRow.status, JobRow.fencing_token))
        for id_, status, token in found:
            before, token_before = self.jobs.get(id_, (status, token))
            assert status == before or status in JOB_STEPS[before], f"{id_}: {before} → {status}"
            assert token >= token_before, f"{id_}: token {token_before} → {token}"
            self.jobs[id_] = (status, token)

    def _check_reports(self, session: Session) -> None:
        """From the close on they stay as they are."""
        for id_, state in self.rounds.items():
            if state in _TAKES_REPORTS:
                continue
            rows = session.execute(
                select(ReportRow.id, ReportRow.sealed)
                .where(ReportRow.round_id == id_)
                .order_by(ReportRow.id)
            ).all()
            now = [(report_id, sealed) for report_id, sealed in rows]
            assert self.sealed.setdefault(id_, now) == now, f"{id_}: its reports changed"

    def _check_receipts(self, session: Session) -> None:
        rows = {
            row.id: (row.invoice_id, row.group_id, row.body, row.body_digest, row.signature)
            for row in session.scalars(select(ReceiptRow))
        }
        for id_, before in self.receipts.items():
            assert rows.get(id_) == before, f"{id_} changed"
        self.receipts = rows


def _check_money(session: Session) -> None:
    """Entries balance, numbers have no gap, and each who reported in a settled round is billed."""
    total = func.sum(PostingRow.amount_micro_units)
    entries = select(PostingRow.entry_key).group_by(PostingRow.entry_key, PostingRow.currency)
    assert session.scalars(entries.having(total != 0)).all() == []
    invoices = session.scalars(select(InvoiceRow)).all()
    numbers = sorted(row.number for row in invoices if row.number is not None)
    assert numbers == list(range(1, len(numbers) + 1)), numbers
    billed: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in invoices:
        billed[row.round_id][row.group_id] += 1
    reported = (
        select(ReportRow.round_id, ReportRow.group_id)
        .join(RoundRow, RoundRow.id == ReportRow.round_id)
        .where(RoundRow.state == "settled")
    )
    due: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for round_id, group_id in session.execute(reported):
        due[round_id][group_id] = 1
    assert billed == due


def _check_events(session: Session) -> None:
    """Numbered from 1 without a gap: who resumes a stream misses none."""
    counted = select(func.count(), func.max(JobEventRow.sequence)).group_by(JobEventRow.job_id)
    assert all(events == last for events, last in session.execute(counted))
