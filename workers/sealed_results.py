"""Results that lie in the artifact store encrypted: whoever has no key reads nothing in them.

The key comes with the job, is made for it alone, and is stored in nothing but the vault.
"""

import base64
import os
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from api_schemas.errors import TruthtuneError

_KEY_BYTES, _NONCE_BYTES = 32, 12
_TAG_BYTES = 16


class DamagedResult(TruthtuneError):
    """A sealed result can't be opened: it was changed, or is another job's (500)."""

    code = "damaged_seal"


def new_key() -> str:
    """32 random bytes in base 64."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def seal_result(key: str, job: str, data: bytes) -> bytes:
    """AES-256-GCM: a random nonce of 12 bytes, and the ciphertext with its tag of 16. `job` names
    what the result is of, and opens nothing else."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(base64.b64decode(key)).encrypt(nonce, data, job.encode())


def open_result(key: str, job: str, sealed: bytes) -> bytes:
    """Raises DamagedResult."""
    try:
        if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
            raise InvalidTag
        nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        return AESGCM(base64.b64decode(key)).decrypt(nonce, ciphertext, job.encode())
    except InvalidTag:
        raise DamagedResult(f"the result of {job} can't be opened: it was changed") from None
