"""The settings themselves: where they come from, and whether the address can be listened on."""

import errno
import http.client
import json
import os
import socket
import stat
from pathlib import Path
from urllib.parse import urlsplit

from api_schemas.errors import TruthtuneError
from api_schemas.settings_file import read_settings_file
from service.doctor.findings import Installation, Verdict, ok, warning, wrong
from service.doctor.storage import nearest_folder
from service.playground.channel import socket_path
from service.settings import Settings
from service.settings_file import misspelt

_SECRETS = ("TRUTHTUNE_KEY_SECRET", "TRUTHTUNE_SEAL_KEY", "TRUTHTUNE_API_KEY")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ANSWER_SECONDS = 3.0
_OTHER_ADDRESS = (
    "set TRUTHTUNE_HOST to an address of this machine, and TRUTHTUNE_PORT to one that this user "
    "may use"
)
_OTHER_PORT = "set TRUTHTUNE_PORT to a free port, or end that program"


def settings(_: Installation) -> Verdict:
    """They could be read: otherwise nothing is examined."""
    file = read_settings_file()
    if not file.settings and not file.path.exists():
        return ok("from the environment and the defaults; `truthtune init` writes a file of them")
    if any(name in file.settings for name in _SECRETS) and open_to_others(file.path):
        return wrong(f"{file.path} holds secrets, and others may read it", chmod(file.path))
    return ok(f"from the environment and {file.path}, which sets {len(file.settings)}")


def environment(_: Installation) -> Verdict:
    found = misspelt(Settings.model_fields)
    if found:
        return warning(
            f"in the environment: {'; '.join(found)}",
            f"unset {' '.join(each.split()[0] for each in found)}",
        )
    return ok("no variable looks like a setting and is none")


def home(subject: Installation) -> Verdict:
    folder = subject.settings.home
    if not folder.exists():
        if (blocked := nearest_folder(folder)) is None or not os.access(blocked, os.W_OK):
            return wrong(f"{folder} is absent and can't be made", f"mkdir -p {folder}")
        return ok(f"{folder.resolve()} is absent; the first start makes it")
    if not folder.is_dir():
        return wrong(f"{folder} is no folder", "set TRUTHTUNE_HOME to a folder")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return wrong(f"{folder} can't be written by this user", f"chown -R $USER {folder}")
    return ok(f"{folder.resolve()} can be written")


def port(subject: Installation) -> Verdict:
    """Free, or this service answers there."""
    host, number = subject.settings.host, subject.settings.port
    if number == 0:
        return ok("a free one is taken at each start (TRUTHTUNE_PORT is 0)")
    try:
        with socket.create_server((host, number), family=_family(host)):
            return ok(f"{host}:{number} is free; nothing serves there")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            reason = error.strerror or str(error)
            return wrong(f"{host}:{number} can't be listened on: {reason}", _OTHER_ADDRESS)
    if _is_truthtune(host, number):
        return ok(f"the service answers at {host}:{number}")
    return wrong(f"another program listens on {host}:{number}", _OTHER_PORT)


def inference(subject: Installation) -> Verdict:
    """Only the playground needs it, so that its absence is never wrong."""
    url = subject.settings.inference_url
    try:
        if url is None:
            path = socket_path(subject.settings)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
        else:
            parts = urlsplit(url)
            address = (parts.hostname or "", parts.port or 80)
            socket.create_connection(address, _ANSWER_SECONDS).close()
    except TruthtuneError as error:
        return wrong(error.message, "export TRUTHTUNE_INFERENCE_URL=http://127.0.0.1:8322")
    except (OSError, ValueError) as error:
        if url is None:
            return ok("no inference process runs; `truthtune up` starts one")
        reason = getattr(error, "strerror", None) or error
        return warning(f"no inference process at {url}: {reason}", "truthtune inference (there)")
    return ok(f"the inference process listens at {url or path}")


def open_to_others(path: Path) -> bool:
    return bool(path.stat().st_mode & _OTHERS)


def chmod(path: Path) -> str:
    return f"chmod 600 {path}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _is_truthtune(host: str, number: int) -> bool:
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    connection = http.client.HTTPConnection(address, number, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/healthz")
        answer = json.loads(connection.getresponse().read(10_000))
        return isinstance(answer, dict) and answer.get("object") == "health"
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
