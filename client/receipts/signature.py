"""That the service signed exactly this receipt."""

from collections.abc import Sequence

import rfc8785

from api_schemas.receipt_checks import Finding, checked, compared, failed
from client.receipts.files import Document, SignedReceipt, digest_of
from client.receipts.keys import PublicKey, signature_bytes

_SAME = (("id", "receipt_id"), ("invoice_id", "invoice_id"), ("created_at", "issued_at"))
"""What a receipt says outside of its signed body, and the body's name for it."""


def check_signature(receipt: Document[SignedReceipt], keys: Sequence[PublicKey]) -> Finding:
    """Ed25519 over the body's canonical JSON, exactly as it is in the file."""
    check, said = "signature", receipt.read.signature
    signature = signature_bytes(said.signature)
    if signature is None:
        return failed(check, f"{said.signature!r} is not 64 bytes in base 64")
    message = rfc8785.dumps(receipt.json["body"])
    named = [key for key in keys if key.id == said.key_id]
    if any(key.signed(signature, message) for key in named):
        return checked(check, f"Ed25519 over the body, by key {said.key_id}")
    bare = [key for key in keys if key.id is None]
    if not named and any(key.signed(signature, message) for key in bare):
        why = f"which the receipt calls {said.key_id}; a bare key has no id to compare"
        return checked(check, f"Ed25519 over the body, by the key given, {why}")
    if not named and not bare:
        return failed(check, f"{said.key_id}, which it names, is not among the keys given")
    return failed(check, f"not by key {said.key_id} over this body: one of the two is another")


def check_digest(receipt: Document[SignedReceipt]) -> Finding:
    found = digest_of(receipt.json["body"])
    holds = found == receipt.json["body_digest"]
    return compared("body_digest", holds, f"the body's canonical JSON has {found}")


def check_ids(receipt: Document[SignedReceipt]) -> Finding:
    """What is said outside of the body is what was signed within it."""
    for outside, within in _SAME:
        said, signed = receipt.json[outside], receipt.json["body"][within]
        if said != signed:
            return failed("ids", f"{outside} is {said!r}, but {within} of the body is {signed!r}")
    return checked("ids", "receipt, invoice and time are those of the signed body")
