"""Encryption at rest: what the database may hold, and nobody may read from it without the key."""

import base64
import os
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from api_schemas.errors import TruthtuneError
from service.secret_files import read_or_make
from service.settings import Settings
from workers.artifacts import canonical_json

KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = b"\x01"


class DamagedSeal(TruthtuneError):
    """What was sealed can't be opened: it was changed, moved, or sealed with another key."""

    code = "damaged_seal"


class Vault:
    """AES-256-GCM. What is sealed in a context opens in that context alone, whole or not at all."""

    def __init__(self, key: bytes):
        self._cipher = AESGCM(key)

    def seal(self, data: bytes, *context: str) -> bytes:
        """The version, a random nonce of 12 bytes, and the ciphertext with its tag of 16."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, data, _associated(context))

    def open(self, sealed: bytes, *context: str) -> bytes:
        """Raises DamagedSeal."""
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != _VERSION:
                raise ValueError
            return self._cipher.decrypt(nonce, ciphertext, _associated(context))
        except (InvalidTag, ValueError):
            raise DamagedSeal(
                f"what was sealed for {', '.join(context)} can't be opened: it was changed, or "
                "sealed with another key than the one in TRUTHTUNE_SEAL_KEY"
            ) from None


def load_vault(settings: Settings) -> Vault:
    """With the key of the settings, else of a file in `home` that the first start makes.

    Raises TruthtuneError for a key that is not 32 bytes in base 64.
    """
    try:
        key = base64.b64decode(seal_key_text(settings), validate=True)
    except ValueError:  # not base 64, or not even ASCII
        key = b""
    if len(key) != KEY_BYTES:
        raise TruthtuneError(
            f"the seal key (TRUTHTUNE_SEAL_KEY, or the file seal_key in TRUTHTUNE_HOME) must be "
            f"{KEY_BYTES} bytes in base 64, as `openssl rand -base64 {KEY_BYTES}` makes them",
            code="bad_seal_key",
            param="seal_key",
        )
    return Vault(key)


def seal_key_text(settings: Settings) -> str:
    """The key in base 64, as it is set or as the first start makes it; perhaps none that works."""
    return settings.seal_key or read_or_make(settings.home / "seal_key", _new_key)


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def _associated(context: tuple[str, ...]) -> bytes:
    return canonical_json(list(context))
