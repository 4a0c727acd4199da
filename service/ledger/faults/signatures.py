"""The keys that may have signed the ledger."""

from dataclasses import dataclass
from typing import Any

from service.signing import is_signed


@dataclass(frozen=True)
class KnownKeys:
    """`by_id` are the database's public keys; `pinned`, unless empty, those that are trusted."""

    by_id: dict[str, str]
    pinned: frozenset[str]

    def fault(self, value: Any, key_id: str | None, signature: str | None) -> str | None:
        """What is wrong with a value's signature; None for one that holds."""
        if key_id is None or signature is None:
            return "it is not signed"
        public_key = self.by_id.get(key_id)
        if public_key is None:
            return f"it names the signing key {key_id}, which there is not"
        if self.pinned and public_key not in self.pinned:
            return f"it is signed with {key_id}, whose public key is none of those given"
        if not is_signed(value, signature, public_key):
            return f"its signature is not that of its content under {key_id}"
        return None
