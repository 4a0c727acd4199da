"""Public keys to check a receipt with; they must come from elsewhere than the receipt."""

import base64
import binascii
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from api_schemas.errors import InvalidInput
from api_schemas.strict_json import NotJsonError, parse_json
from client.receipts.files import read_bytes

_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_FORMS = "give base 64 of 32 bytes, a PEM file, or a file with the JSON of GET /v1/keys/signing"


@dataclass(frozen=True)
class PublicKey:
    """An Ed25519 key; a bare one has no id."""

    id: str | None
    key: Ed25519PublicKey

    def signed(self, signature: bytes, message: bytes) -> bool:
        try:
            self.key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def read_keys(given: str) -> list[PublicKey]:
    """The keys that an argument of `--public-key` stands for. Raises InvalidInput."""
    raw = _exact_base64(given, _KEY_BYTES)
    if raw is not None:
        return [PublicKey(None, Ed25519PublicKey.from_public_bytes(raw))]
    data = read_bytes(Path(given))
    if data.lstrip().startswith(b"-----BEGIN"):
        return [PublicKey(None, _pem_key(data, given))]
    return _listed_keys(data, given)


def signature_bytes(text: str) -> bytes | None:
    """64 bytes in base 64; None for any other text, also for one that ends in idle bits that
    differ: two texts of one signature would let a receipt be changed unseen."""
    return _exact_base64(text, _SIGNATURE_BYTES)


def _listed_keys(data: bytes, given: str) -> list[PublicKey]:
    try:
        value = parse_json(data.decode())
    except (UnicodeDecodeError, NotJsonError) as error:
        raise InvalidInput(f"public key {given}: neither PEM nor JSON: {error}; {_FORMS}") from None
    entries = value.get("data", [value]) if isinstance(value, dict) else value
    if not isinstance(entries, list) or not entries:
        raise InvalidInput(f"public key {given}: it lists no key; {_FORMS}")
    return [_listed_key(entry, given) for entry in entries]


def _listed_key(entry: Any, given: str) -> PublicKey:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise InvalidInput(f"public key {given}: an entry has no id: {json.dumps(entry)[:100]}")
    text = entry.get("public_key")
    found = _exact_base64(text, _KEY_BYTES) if isinstance(text, str) else None
    if found is None:
        raise InvalidInput(
            f"public key {given}: public_key of {entry['id']} is {text!r}, not 32 bytes in base 64"
        )
    return PublicKey(entry["id"], Ed25519PublicKey.from_public_bytes(found))


def _pem_key(data: bytes, given: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"public key {given}: no PEM of a public key: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput(f"public key {given}: receipts are signed with Ed25519 keys")
    return key


def _exact_base64(text: str, length: int) -> bytes | None:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    exact = len(found) == length and base64.b64encode(found).decode() == text
    return found if exact else None
