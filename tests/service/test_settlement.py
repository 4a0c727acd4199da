"""Settlement: all of it or nothing, once, in whole micro-units that sum to zero."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scenes import (
    ARCHIVE,
    DIGEST,
    add_closed_round,
    add_groups,
    claim,
    let_leases_expire,
    queue_job,
    settle,
    valued,
)
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from support import VAULT

from api_schemas.errors import RoundFailed
from api_schemas.outcomes import Outcome, Valued
from service.database import Database
from service.jobs import leases, queue
from service.jobs.leases import CancelRequested, Claim, LeaseLost
from service.ledger import posting
from service.ledger.balances import REVENUE
from service.tables import (
    InvoiceRow,
    JobRow,
    ModelRow,
    OutcomeRow,
    PostingRow,
    ReceiptRow,
    RoundRow,
)

SETTLED_TABLES = (ModelRow, OutcomeRow, InvoiceRow, PostingRow, ReceiptRow)


@pytest.fixture
def held(database: Database) -> Claim:
    """A claimed job of three groups."""
    queue_job(database)
    return claim(database)


def test_settlement_ends_job_and_round_with_everything_they_leave(
    database: Database, held: Claim
) -> None:
    settle(database, held, valued(held.job))
    assert _counts(database) == [1, 1, 3, 6, 3]
    with database.read() as session:
        assert session.get_one(RoundRow, held.job.round_id).state == "settled"
        assert session.get_one(RoundRow, held.job.round_id).settled_at is not None
        assert session.get_one(JobRow, held.job_id).status == "succeeded"


def test_a_group_owes_what_the_operator_earns(database: Database, held: Claim) -> None:
    first, second, third = (report.group_id for report in held.job.reports)
    settle(database, held, valued(held.job, {first: 2.5, second: 0.0, third: -0.25}))
    assert _balances(database) == {
        f"receivable:{first}": 2_500_000,
        f"receivable:{third}": -250_000,
        REVENUE: -2_250_000,
    }
    assert _invoices(database) == {
        first: ("open", 2_500_000),
        second: ("paid", 0),  # nothing is owed, so nothing is posted
        third: ("open", -250_000),
    }


def test_an_excluded_group_gets_no_invoice(database: Database, held: Claim) -> None:
    excluded = held.job.reports[0].group_id
    settle(database, held, valued(held.job, excluded={excluded: "sample 3 has no score"}))
    assert excluded not in _invoices(database)
    assert _counts(database) == [1, 1, 2, 4, 2]


def test_manual_invoicing_leaves_drafts_without_numbers_postings_and_receipts(
    database: Database,
) -> None:
    queue_job(database, invoicing="manual")
    held = claim(database)
    settle(database, held, valued(held.job))
    assert _counts(database) == [1, 1, 3, 0, 0]
    assert {status for status, _ in _invoices(database).values()} == {"draft"}
    with database.read() as session:
        assert session.scalars(select(InvoiceRow.number)).all() == [None] * 3
        assert session.get_one(RoundRow, held.job.round_id).state == "settled"


def test_settling_twice_is_impossible(database: Database, held: Claim) -> None:
    settle(database, held, valued(held.job))
    before = _counts(database)
    with pytest.raises(LeaseLost):
        settle(database, held, valued(held.job))
    assert _counts(database) == before


def test_a_round_that_forgot_its_settlement_is_still_not_settled_twice(
    database: Database, held: Claim
) -> None:
    """As after a bug that revives a job: the unique keys of the rows stand in the way."""
    settle(database, held, valued(held.job))
    before = _counts(database)
    with database.write() as session:
        session.execute(update(RoundRow).values(state="running"))
        session.execute(update(JobRow).values(status="running"))
    with pytest.raises(IntegrityError):
        settle(database, held, valued(held.job))
    assert _counts(database) == before


def test_a_former_holder_cannot_settle(database: Database, held: Claim) -> None:
    let_leases_expire(database)
    holder = claim(database, "second")
    with pytest.raises(LeaseLost):
        settle(database, held, valued(held.job))
    assert _counts(database) == [0, 0, 0, 0, 0]
    settle(database, holder, valued(holder.job))
    assert _counts(database) == [1, 1, 3, 6, 3]


def test_a_job_that_is_to_be_cancelled_is_not_settled(database: Database, held: Claim) -> None:
    with database.write() as session:
        queue.cancel_job_of(session, held.job.round_id)
    with pytest.raises(CancelRequested):
        settle(database, held, valued(held.job))
    assert _counts(database) == [0, 0, 0, 0, 0]


def _changed(**changes: Any) -> Callable[[Outcome], Outcome]:
    return lambda outcome: outcome.model_copy(update=changes)


def _first_group(**changes: Any) -> Callable[[Outcome], Outcome]:
    def change(outcome: Outcome) -> Outcome:
        first, *rest = outcome.groups
        return outcome.model_copy(update={"groups": [first.model_copy(update=changes), *rest]})

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_changed(round_id="rnd_" + "0" * 26), "round_id"),
        (_changed(announcement_digest="sha256:" + "0" * 64), "announcement_digest"),
        (_changed(price_per_unit_micro_units=1), "price_per_unit_micro_units"),
        (_changed(currency="USD"), "currency"),
        (_changed(worlds=[]), "grand worlds"),
        (_changed(groups=[]), "groups"),
        (_first_group(size=9), "groups"),
        (_first_group(amount_micro_units=500_001), "an amount is not"),
        (_first_group(amount_micro_units=None), "an amount is not"),
        (_first_group(payment=0.6), "an amount is not"),
        (_first_group(payment=None), "no payment"),
        (_first_group(utility=None), "no payment, valuation or utility"),
        (_first_group(utility=1.5), "a utility is not size·valuation − payment"),
        (_first_group(valuation=1.0), "a utility is not size·valuation − payment"),
        (_first_group(others_welfare_with=1.25), "a payment is not others_welfare_without − with"),
        (_first_group(surcharge=0.25), "a surcharge, or lacks one, against payment_rule 'affine"),
    ],
)
def test_an_outcome_that_contradicts_its_job_is_not_settled(
    database: Database, held: Claim, change: Callable[[Outcome], Outcome], named: str
) -> None:
    found = valued(held.job)
    wrong = found.model_copy(update={"outcome": change(found.outcome)})
    with pytest.raises(RoundFailed, match=named) as raised:
        settle(database, held, wrong)
    assert raised.value.code == "inconsistent_outcome"
    assert _tells_nothing(raised.value, held)
    assert _counts(database) == [0, 0, 0, 0, 0]


def _surcharged(outcome: Outcome, surcharge: float | None) -> Outcome:
    """The same payments, a part of each of which is now a surcharge."""
    groups = [
        group.model_copy(
            update={
                "surcharge": surcharge,
                "others_welfare_without": group.others_welfare_without - (surcharge or 0.0),
            }
        )
        for group in outcome.groups
    ]
    return outcome.model_copy(update={"groups": groups})


@pytest.mark.parametrize("surcharge", [0.0, 0.125, None])
def test_a_surcharge_is_part_of_the_payment_under_revenue_maximizing(
    database: Database, surcharge: float | None
) -> None:
    queue_job(database, payment_rule="revenue_maximizing")
    held = claim(database)
    found = valued(held.job)
    surcharged = found.model_copy(update={"outcome": _surcharged(found.outcome, surcharge)})
    if surcharge is None:
        with pytest.raises(RoundFailed, match="a surcharge, or lacks one"):
            settle(database, held, surcharged)
        return
    unexplained = _first_group(surcharge=0.25)(surcharged.outcome)
    with pytest.raises(RoundFailed, match="a payment is not"):
        settle(database, held, found.model_copy(update={"outcome": unexplained}))
    settle(database, held, surcharged)
    assert {amount for _, amount in _invoices(database).values()} == {500_000}


def test_a_negative_payment_fails_the_round_where_that_was_announced(database: Database) -> None:
    queue_job(database, on_negative_payment="fail")
    held = claim(database)
    with pytest.raises(RoundFailed) as raised:
        settle(database, held, valued(held.job, {held.job.reports[0].group_id: -0.5}))
    assert raised.value.code == "negative_payment"
    assert _tells_nothing(raised.value, held)
    assert _counts(database) == [0, 0, 0, 0, 0]


@pytest.mark.parametrize(("payment", "fails"), [(-1e-15, False), (-5e-12, False), (-7e-12, True)])
def test_a_payment_negative_by_rounding_alone_fails_no_round(
    database: Database, payment: float, fails: bool
) -> None:
    """Up to 1e-12·Σw, here 6e-12; floor makes −1 micro-unit of it all the same."""
    queue_job(database, on_negative_payment="fail")
    held = claim(database)
    group = held.job.reports[0].group_id
    with pytest.raises(RoundFailed) if fails else nullcontext():
        settle(database, held, valued(held.job, {group: payment}))
    if not fails:
        assert _invoices(database)[group] == ("open", -1)


PAYMENTS = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=5)
ROUNDS = st.lists(st.tuples(PAYMENTS, st.booleans()), min_size=1, max_size=3)


@given(rounds=ROUNDS)
@hypothesis_settings(
    max_examples=15,
    deadline=None,
    # One database for all examples: numbers go on without a gap from one to the next.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_payments_sum_to_zero_and_number_without_gaps(
    database: Database, rounds: list[tuple[list[float], bool]]
) -> None:
    for payments, breaks_off in rounds:
        held = _claim_round(database, len(payments))
        ids = [report.group_id for report in held.job.reports]
        found = valued(held.job, dict(zip(ids, payments, strict=True)))
        if breaks_off:
            _settle_and_break_off(database, held, found)
        settle(database, held, found)
        assert {amount for _, amount in _sums_by_entry(database)} <= {0}
    with database.read() as session:
        numbers = session.scalars(select(InvoiceRow.number).order_by(InvoiceRow.number)).all()
        owed = session.scalar(select(func.sum(InvoiceRow.amount_micro_units)))
    assert numbers == list(range(1, len(numbers) + 1))
    assert _balances(database).get(REVENUE, 0) == -(owed or 0)


def _claim_round(database: Database, groups: int) -> Claim:
    with database.write() as session:
        add_closed_round(session, add_groups(session, groups))
    return claim(database)


class _PowerCutError(Exception):
    pass


def _settle_and_break_off(database: Database, held: Claim, found: Valued) -> None:
    def break_off() -> None:
        with database.write() as session:
            leases.start_stage(session, held, "settle")
            posting.settle(session, VAULT, held, found, ARCHIVE, DIGEST)
            raise _PowerCutError

    with pytest.raises(_PowerCutError):
        break_off()


def _tells_nothing(error: RoundFailed, held: Claim) -> bool:
    """Every group reads the reason: it must name no group, and no size or amount but the rules'."""
    return not any(report.group_id in error.message for report in held.job.reports) and not any(
        word in error.message for word in ("500000", "500001", "0.5", "0.6")
    )


def _counts(database: Database) -> list[int]:
    """Rows of the models, outcomes, invoices, postings and receipts."""
    with database.read() as session:
        return [
            session.scalar(select(func.count()).select_from(table)) or 0 for table in SETTLED_TABLES
        ]


def _balances(database: Database) -> dict[str, int]:
    with database.read() as session:
        total = func.sum(PostingRow.amount_micro_units)
        rows = session.execute(select(PostingRow.account, total).group_by(PostingRow.account))
        return {account: int(amount) for account, amount in rows}


def _sums_by_entry(database: Database) -> list[tuple[str, int]]:
    with database.read() as session:
        total = func.sum(PostingRow.amount_micro_units)
        rows = session.execute(
            select(PostingRow.entry_key, total).group_by(PostingRow.entry_key, PostingRow.currency)
        )
        return [(key, int(amount)) for key, amount in rows]


def _invoices(database: Database) -> dict[str, tuple[str, int]]:
    with database.read() as session:
        rows = session.scalars(select(InvoiceRow))
        return {row.group_id: (row.status, row.amount_micro_units) for row in rows}
