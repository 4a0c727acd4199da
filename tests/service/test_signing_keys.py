"""Signing keys: one at a time signs, all are public, and no private part is stored in the open."""

import base64
import string

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select, update
from starlette.testclient import TestClient
from support import VAULT, MakeGroup

from service import signing
from service.database import Database
from service.signing import is_signed, sign
from service.tables import SigningKeyRow
from service.vault import DamagedSeal, Vault

VALUE = {"type": "a test", "number": 1}


def test_a_signature_is_of_its_value_and_key_alone(database: Database) -> None:
    with database.write() as session:
        signature = sign(session, VAULT, VALUE)
        (public_key,) = signing.public_keys(session).values()
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    assert is_signed(VALUE, signature.signature, public_key)
    assert is_signed(dict(reversed(VALUE.items())), signature.signature, public_key)
    assert not is_signed(VALUE | {"number": 2}, signature.signature, public_key)
    assert not is_signed(VALUE, signature.signature, base64.b64encode(other).decode())
    for damaged in ("", "AAAA", "no base 64", signature.signature[:-4]):
        assert not is_signed(VALUE, damaged, public_key)
        assert not is_signed(VALUE, signature.signature, damaged)


def test_a_signature_has_one_text(database: Database) -> None:
    """88 characters of base 64 hold 4 bits more than 64 bytes: they too must be as written."""
    with database.write() as session:
        signature = sign(session, VAULT, VALUE).signature
        (public_key,) = signing.public_keys(session).values()
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    idle = letters[letters.index(signature[85]) ^ 1]
    other = signature[:85] + idle + signature[86:]
    assert base64.b64decode(other) == base64.b64decode(signature)
    assert is_signed(VALUE, signature, public_key)
    assert not is_signed(VALUE, other, public_key)


def test_the_private_part_opens_in_its_own_context_with_the_services_key_alone(
    database: Database,
) -> None:
    with database.write() as session:
        sign(session, VAULT, VALUE)
        row = session.scalars(select(SigningKeyRow)).one()
        private = VAULT.open(row.sealed_private_key, "signing_key", row.id)
        made = Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
        assert base64.b64decode(row.public_key) == made
        assert private not in row.sealed_private_key
        with pytest.raises(DamagedSeal):
            sign(session, Vault(bytes(32)), VALUE)


def test_after_a_rotation_the_new_key_signs_and_the_old_signatures_hold(database: Database) -> None:
    with database.write() as session:
        before = sign(session, VAULT, VALUE)
        made = signing.rotate(session, VAULT)
        after = sign(session, VAULT, VALUE)
        keys = signing.public_keys(session)
        retired = session.get_one(SigningKeyRow, before.key_id).retired_at
    assert (after.key_id, made.retired_at) == (made.id, None)
    assert before.key_id != after.key_id
    assert retired is not None
    for signature in (before, after):
        assert is_signed(VALUE, signature.signature, keys[signature.key_id])


def test_anyone_reads_the_public_keys_and_only_the_operator_rotates_them(
    client: TestClient, operator: TestClient, make_group: MakeGroup
) -> None:
    assert client.get("/v1/keys/signing").json()["data"] == []
    _, group = make_group("teachers")
    assert client.post("/v1/keys/signing/rotate").status_code == 401
    assert group.post("/v1/keys/signing/rotate").status_code == 403
    headers = {"Idempotency-Key": "once"}
    first = operator.post("/v1/keys/signing/rotate", headers=headers)
    assert first.status_code == 201
    assert operator.post("/v1/keys/signing/rotate", headers=headers).json() == first.json()
    second = operator.post("/v1/keys/signing/rotate").json()
    shown = client.get("/v1/keys/signing").json()["data"]
    assert [key["id"] for key in shown] == [second["id"], first.json()["id"]]
    assert [key["retired_at"] is None for key in shown] == [True, False]
    assert len(base64.b64decode(second["public_key"])) == 32
    assert "private" not in str(shown)


def test_a_key_that_was_exchanged_in_the_database_signs_nothing(database: Database) -> None:
    """Sealed for its own id, it can't be moved to another row either."""
    with database.write() as session:
        sign(session, VAULT, VALUE)
        session.execute(update(SigningKeyRow).values(id="sgk_" + "0" * 26))
        session.expire_all()
        with pytest.raises(DamagedSeal):
            sign(session, VAULT, VALUE)
