"""An endpoint's Ed25519 keys, and the signature of a message (Standard Webhooks, `v1a`)."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api_schemas.webhooks import (
    ID_HEADER,
    PUBLIC_KEY_PREFIX,
    SIGNATURE_HEADER,
    SIGNATURE_VERSION,
    TIMESTAMP_HEADER,
    signed_content,
)
from service.vault import Vault

_SEALED_FOR = "webhook_endpoint"


@dataclass(frozen=True)
class EndpointKey:
    """The public half as receivers get it, the private half as the database may hold it."""

    public: str
    sealed_private: bytes


def new_key(vault: Vault, endpoint_id: str) -> EndpointKey:
    made = Ed25519PrivateKey.generate()
    public = base64.b64encode(made.public_key().public_bytes_raw()).decode()
    sealed = vault.seal(made.private_bytes_raw(), _SEALED_FOR, endpoint_id)
    return EndpointKey(PUBLIC_KEY_PREFIX + public, sealed)


def signed_headers(
    vault: Vault,
    endpoint_id: str,
    sealed_keys: Sequence[bytes],
    message_id: str,
    timestamp: int,
    body: bytes,
) -> dict[str, str]:
    """The headers of one attempt at `timestamp` (Unix seconds), signed with each of the keys.

    Raises DamagedSeal.
    """
    content = signed_content(message_id, timestamp, body)
    signatures = [
        Ed25519PrivateKey.from_private_bytes(vault.open(sealed, _SEALED_FOR, endpoint_id)).sign(
            content
        )
        for sealed in sealed_keys
    ]
    return {
        "Content-Type": "application/json",
        "User-Agent": "Truthtune-Webhooks",
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: " ".join(
            f"{SIGNATURE_VERSION},{base64.b64encode(each).decode()}" for each in signatures
        ),
    }
