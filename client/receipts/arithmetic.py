"""That the figures of a receipt follow from each other. Source: docs/mechanism.md §1 and §6."""

from api_schemas.amounts import is_sum, payment_micro_units
from api_schemas.ledger import ReceiptBody
from api_schemas.receipt_checks import Finding, compared, failed, not_checked
from api_schemas.rounds import MAX_EXACT_INTEGER


def check_arithmetic(body: ReceiptBody) -> list[Finding]:
    return [_difference(body), _payment(body), _amount(body), _utility(body)]


def _difference(body: ReceiptBody) -> Finding:
    check, formula = "difference", "others_welfare_difference = without − with"
    without, with_payer = body.others_welfare_without, body.others_welfare_with
    if without is None and with_payer is None:
        return not_checked(check, "with fewer than three groups the others' welfare is not told")
    if without is None or with_payer is None:
        return failed(check, "of the others' welfare with and without the payer only one is told")
    found = body.others_welfare_difference
    return compared(
        check,
        is_sum(found, [without, -with_payer]),
        f"{formula}: {found!r} and {without!r} − {with_payer!r}",
    )


def _payment(body: ReceiptBody) -> Finding:
    check, surcharge = "payment", body.surcharge
    if (surcharge is not None) != (body.payment_rule == "revenue_maximizing"):
        return failed(check, f"surcharge is {surcharge!r} under {body.payment_rule!r}")
    terms = [body.others_welfare_difference, *([] if surcharge is None else [surcharge])]
    return compared(
        check,
        is_sum(body.payment, terms),
        f"payment = difference{' + surcharge' * (surcharge is not None)}: {body.payment!r} and "
        + " + ".join(map(repr, terms)),
    )


def _amount(body: ReceiptBody) -> Finding:
    check, price = "amount", body.price_per_unit_micro_units
    if price < 0:
        return failed(check, f"price_per_unit_micro_units {price} is negative")
    due = payment_micro_units(body.payment, price)
    if abs(due) > MAX_EXACT_INTEGER:
        return failed(check, f"floor(payment × price) = {due} is no integer that JSON carries")
    return compared(
        check,
        body.amount_micro_units == due,
        f"amount_micro_units = floor(payment × price): {body.amount_micro_units} and {due}",
    )


def _utility(body: ReceiptBody) -> Finding:
    check = "utility"
    if body.size < 1:
        return failed(check, f"size {body.size} is no group's")
    worth = body.size * body.valuation
    return compared(
        check,
        is_sum(body.utility, [worth, -body.payment]),
        f"utility = size·valuation − payment: {body.utility!r} and "
        f"{body.size}·{body.valuation!r} − {body.payment!r}",
    )
