"""Files that a receipt is checked against, read one way only."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import rfc8785
from pydantic import BaseModel, ValidationError

from api_schemas.errors import InvalidInput
from api_schemas.ledger import Receipt, ReceiptBody, Signature
from api_schemas.strict_json import NotJsonError, parse_json

Kind = TypeVar("Kind", bound=BaseModel)

_STANDARD_INPUT = Path("-")


@dataclass(frozen=True)
class Document(Generic[Kind]):
    """A JSON object as it is in its file, which digests and signatures cover, and as it reads."""

    json: dict[str, Any]
    read: Kind


class SignedReceipt(Receipt):
    """A receipt that can be checked; those of version 1 are older than signatures."""

    body: ReceiptBody
    signature: Signature


def read_receipt(path: Path) -> Document[SignedReceipt]:
    """`-` is standard input.

    Raises InvalidInput, naming file, field and value, for anything but a whole receipt: a field too
    many would be one whose meaning nobody has checked.
    """
    value = read_object(path)
    body = value.get("body")
    if isinstance(body, dict) and body.get("version") == 1:
        raise InvalidInput(f"{path}: receipts of version 1 are older than signatures")
    try:
        receipt = SignedReceipt.model_validate_json(canonical(value, path), strict=True)
    except ValidationError as error:
        raise InvalidInput(f"{path}: {_problems(error)}") from None
    return Document(value, receipt)


def read_document(path: Path, kind: type[Kind]) -> Document[Kind]:
    """A newer service may say more than this client knows: unknown fields are passed over.

    Raises InvalidInput, naming file, field and value.
    """
    value = read_object(path)
    return Document(value, read_as(kind, value, path))


def read_as(kind: type[Kind], value: Any, path: Path) -> Kind:
    """The value as `kind`. Raises InvalidInput, naming file, field and value."""
    try:
        return kind.model_validate_json(canonical(value, path), extra="ignore")
    except ValidationError as error:
        raise InvalidInput(f"{path}: {_problems(error)}") from None


def read_bytes(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == _STANDARD_INPUT else path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}") from None


def digest_of(value: Any) -> str:
    """sha256 of a JSON value's canonical bytes (RFC 8785)."""
    return f"sha256:{hashlib.sha256(rfc8785.dumps(value)).hexdigest()}"


def canonical(value: Any, path: Path) -> bytes:
    """Raises InvalidInput for what RFC 8785 can't write: integers that JSON readers round, and text
    that is no Unicode."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidInput(f"{path} has no canonical JSON: {error}") from None


def read_object(path: Path) -> dict[str, Any]:
    """Raises InvalidInput, naming the file, for anything but one JSON object."""
    try:
        value = parse_json(read_bytes(path).decode())
    except (UnicodeDecodeError, NotJsonError) as error:
        raise InvalidInput(f"{path} can't be read: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput(f"{path} holds no JSON object")
    return value


def _problems(error: ValidationError) -> str:
    return "; ".join(_sentence(detail) for detail in error.errors())


def _sentence(detail: Any) -> str:
    where = ".".join(map(str, detail["loc"])) or "the whole"
    where = where if where.isprintable() else repr(where)  # a stranger's key, on a terminal
    value = detail["input"]
    shown = f", not {value!r}" if isinstance(value, str | int | float) else ""
    return f"{where}: {detail['msg']}{shown}"
