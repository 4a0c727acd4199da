"""Between the API and the inference process: where it listens, and the secret that it asks for.

By default a Unix socket in the home, which nobody but its owner can open. The secret is derived
from that of the API keys, so that both processes know it and entitlement can't be walked around.
"""

import hashlib
import hmac
import os
import socket
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from api_schemas.errors import Unavailable
from service.settings import Settings

PATH = "/generate"
SOCKET_NAME = "inference.sock"
_LONGEST_SOCKET_PATH = 103
"""Bytes that every system takes; Linux takes four more."""


def secret_of(key_secret: bytes) -> str:
    """HMAC-SHA256(key secret, purpose): tells nothing of the key secret, or of any API key."""
    return hmac.new(key_secret, b"truthtune inference v1", hashlib.sha256).hexdigest()


def socket_path(settings: Settings) -> Path:
    """Raises Unavailable where the home's path is too long for a socket."""
    path = settings.home.resolve() / SOCKET_NAME
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise Unavailable(
            f"the path of a socket may have {_LONGEST_SOCKET_PATH} bytes, {path} has more: set "
            "TRUTHTUNE_INFERENCE_URL=http://127.0.0.1:8322, or a shorter TRUTHTUNE_HOME",
            code="socket_path_too_long",
        )
    return path


def listening_socket(settings: Settings) -> socket.socket:
    """A bound socket for the inference process. Raises Unavailable if its address is taken."""
    if settings.inference_url is None:
        return _private_socket(socket_path(settings))
    address = urlsplit(settings.inference_url)
    host, port = settings.inference_host or address.hostname or "", address.port or 0
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise _taken(f"{host}:{port}: {error.strerror}") from error
    return listening


def _private_socket(path: Path) -> socket.socket:
    """Made under another name, with its owner's rights alone, and then put in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(str(path))
        raise _taken(f"{path}: another one does already")
    temporary = path.with_suffix(f".{os.getpid() % 1000}")
    temporary.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(temporary))
        temporary.chmod(0o600)
        temporary.replace(path)
    except BaseException:
        listening.close()
        temporary.unlink(missing_ok=True)
        raise
    return listening


def _taken(reason: str) -> Unavailable:
    return Unavailable(f"the inference process can't listen at {reason}", code="address_taken")
