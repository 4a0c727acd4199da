"""The two secrets and the API keys that hang on one of them.

Nothing is made here: a secret that is missing where something was made with it is lost data, and a
new one in its place would hide that.
"""

import os
from datetime import timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from api_schemas.errors import TruthtuneError
from api_schemas.settings_file import read_settings_file
from service.auth import hmac_of, load_key_secret
from service.database import database_now
from service.doctor import repository
from service.doctor.configuration import chmod, open_to_others
from service.doctor.findings import Installation, Verdict, ok, warning, wrong
from service.endpoints_file import EndpointList
from service.groups.repository import find_unrevoked_key
from service.vault import DamagedSeal, load_vault

_SOON = timedelta(days=7)
_MAKE_KEY = "truthtune key create-operator --name NAME"


def key_secret(subject: Installation) -> Verdict:
    if subject.settings.key_secret is not None:
        return ok("set by TRUTHTUNE_KEY_SECRET")
    return _secret_file(subject.settings.home / "key_secret")


def seal_key(subject: Installation) -> Verdict:
    """Present and well-formed; `sealed` tells whether it is the right one."""
    file = subject.settings.home / "seal_key"
    if subject.settings.seal_key is None:
        found = _secret_file(file)
        if found.status != "ok" or not file.exists():
            return found
    try:
        load_vault(subject.settings)
    except TruthtuneError as error:
        return wrong(error.message, "put back the seal key from a backup")
    return ok("set by TRUTHTUNE_SEAL_KEY") if subject.settings.seal_key else found


def endpoints(subject: Installation) -> Verdict:
    """The operator's list and the keys that it names; no endpoint is asked."""
    path = subject.settings.endpoints
    if path is None:
        return ok("none: language models are run by this service alone")
    try:
        listed = EndpointList.read(path)
        listed.with_keys()
    except TruthtuneError as error:
        said = error.message.removeprefix("TRUTHTUNE_ENDPOINTS: ")
        return wrong(said, f"mend {path}, or what it names (the coordinator reads the keys)")
    key_files = [listed.key_path(each.key_file) for each in listed.listed.values() if each.key_file]
    for file in key_files:
        if open_to_others(file):
            return wrong(f"{file} holds a key, and others may read it", chmod(file))
    for name, each in listed.listed.items():
        if each.has_key and not each.is_private_way:
            told = f"[{name}] sends its key unencrypted to {each.url}"
            return warning(told, "an address that starts with https://, or one of this machine")
    return ok(f"{len(listed.listed)} in {path}: {', '.join(listed.listed) or 'none'}")


def sealed(subject: Installation, session: Session) -> Verdict:
    """Signing keys and webhooks' keys open; reports are left alone."""
    tried = list(repository.sealed_keys(session))
    if not tried:
        return ok("nothing that may be tried was sealed yet")
    home = subject.settings.home
    remedy = f"put back the seal key from a backup, into TRUTHTUNE_SEAL_KEY or {home / 'seal_key'}"
    if subject.settings.seal_key is None and not (home / "seal_key").exists():
        return wrong("the seal key is missing, and the database has what it sealed", remedy)
    vault = load_vault(subject.settings)
    for kind, row_id, content in tried:
        try:
            vault.open(content, kind, row_id)
        except DamagedSeal:
            what = kind.replace("_", " ")
            return wrong(f"the seal key doesn't open {what} {row_id}: it is another one", remedy)
    return ok("the seal key opens what is sealed")


def operator_key(subject: Installation, session: Session) -> Verdict:
    settings = subject.settings
    lost = settings.key_secret is None and not (settings.home / "key_secret").exists()
    if lost and repository.any_keys(session):
        return wrong(
            "the key secret is missing: no API key in the database works",
            f"put back {settings.home / 'key_secret'} from a backup, or set TRUTHTUNE_KEY_SECRET",
        )
    now = database_now(session)
    there, ends = repository.last_end_of_operator_keys(session, now)
    if not there:
        return wrong("the operator has no API key that works", _MAKE_KEY)
    if ends is not None and ends < now + _SOON:
        when = f"{ends:%Y-%m-%d %H:%M} UTC"
        return warning(f"the operator's last API key ends at {when}", _MAKE_KEY)
    return ok("the operator has an API key")


def api_key(subject: Installation, session: Session) -> Verdict:
    """The one that the client's commands would send from here."""
    name = "TRUTHTUNE_API_KEY"
    given = os.environ.get(name) or read_settings_file().value(name)
    if given is None:
        return ok(f"{name} is not set; the client's commands want it")
    if subject.settings.key_secret is None and not (subject.settings.home / "key_secret").exists():
        return wrong(f"{name} can't be known here: the key secret is missing", _MAKE_KEY)
    found = find_unrevoked_key(session, hmac_of(given, load_key_secret(subject.settings)))
    if found is None:
        return wrong(f"this database doesn't know the key in {name}, or it is revoked", _MAKE_KEY)
    if found.expires_at is not None and found.expires_at <= database_now(session):
        return wrong(f"the key in {name} expired at {found.expires_at:%Y-%m-%d %H:%M}", _MAKE_KEY)
    return ok(f"{name} is a key of the {found.scope}")


def _secret_file(path: Path) -> Verdict:
    if not path.exists():
        return ok(f"{path} is absent; the first start makes it")
    if open_to_others(path):
        return wrong(f"{path} is open to other users (mode {path.stat().st_mode:o})", chmod(path))
    if not path.read_text().strip():
        return wrong(f"{path} is empty", f"put back {path} from a backup")
    return ok(f"in {path}, for its owner's eyes alone")
