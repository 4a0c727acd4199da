"""The secret behind the stored forms of API keys, light to import for processes without SQL."""

import secrets

from service.secret_files import read_or_make
from service.settings import Settings

_SECRET_BYTES = 32


def load_key_secret(settings: Settings) -> bytes:
    """The HMAC secret of the settings, else of a file in `home` that the first start makes."""
    if settings.key_secret is not None:
        return settings.key_secret.encode()
    made = read_or_make(settings.home / "key_secret", lambda: secrets.token_hex(_SECRET_BYTES))
    return made.encode()
