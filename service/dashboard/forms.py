"""What a form of a page holds: its fields as they were filled in, and what the API found wrong."""

import math
import secrets
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import Any

from starlette.datastructures import FormData

from api_schemas.errors import Problem

_MICRO = 1_000_000
_DIGITS, _CHARACTERS = 12, 25
"""Of an amount: beyond any that JSON carries exactly, and within what Decimal multiplies so."""


class FieldProblem(Exception):
    """A field that can't even be sent to the API, as an amount that is no number."""

    def __init__(self, param: str, detail: str):
        super().__init__(detail)
        self.problem = Problem(
            title=HTTPStatus.UNPROCESSABLE_ENTITY.phrase,
            status=HTTPStatus.UNPROCESSABLE_ENTITY,
            detail=detail,
            code="invalid_input",
            param=param,
        )


def texts(form: FormData) -> dict[str, str]:
    """The fields without files, by name; of several of one name the last."""
    return {name: value for name, value in form.items() if isinstance(value, str)}


def new_idempotency_key() -> str:
    """For a hidden field: a form that is sent twice makes one thing."""
    return secrets.token_urlsafe(16)


def next_idempotency_key(values: Mapping[str, str], problem: Problem) -> str:
    """Of a form that is shown again: a refusal used up no key, unless it came for another deed."""
    if problem.code == "idempotency_key_reused":
        return new_idempotency_key()
    return values.get("idempotency_key") or new_idempotency_key()


def number_of(text: str) -> int | float | str:
    """The number, or the text as it is: then the API says what is wrong with it."""
    for kind in (int, float):
        try:
            value = kind(text.strip())
            return value if math.isfinite(value) else text  # JSON has no infinity
        except (ValueError, OverflowError):
            continue
    return text


def micro_units_of(values: Mapping[str, str], name: str) -> int:
    """An amount such as `1.25`, exactly. Raises FieldProblem for one that has no millionths."""
    text = values.get(name, "").strip().replace("−", "-")
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise FieldProblem(name, f"{text!r} is no amount: write it as 12.50") from None
    if not amount.is_finite() or amount.adjusted() > _DIGITS or len(text) > _CHARACTERS:
        raise FieldProblem(name, f"{text[:_CHARACTERS]} is no amount that money is counted in")
    if (micro := amount * _MICRO) != int(micro):
        raise FieldProblem(name, f"{text} has more than six decimals: money counts in millionths")
    return int(micro)


def moment_of(text: str) -> str:
    """A browser's `2030-01-01T12:00` as RFC 3339: the field's label says that it is UTC."""
    return f"{text}Z" if text.count(":") > 1 else f"{text}:00Z"


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"pool.method": …}` → `{"pool": {"method": …}}`: fields are named as the API's `param`."""
    body: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        place = body
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return body
