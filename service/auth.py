"""API keys: who a request speaks for, and what that principal may do."""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api_schemas.errors import Forbidden, NotAuthenticated
from api_schemas.groups import Scope
from service.dependencies import State
from service.groups import repository
from service.settings import Settings

OPERATOR = "operator"
_PREFIXES: dict[Scope, str] = {"operator": "tt_op_", "group": "tt_grp_"}
_SECRET_BYTES = 32


@dataclass(frozen=True)
class Principal:
    """Who speaks: the operator, or one group."""

    key_id: str
    scope: Scope
    group_id: str | None

    @property
    def owner_id(self) -> str:
        """The owner of what this principal makes: the group's id, or `operator`."""
        return self.group_id or OPERATOR

    @property
    def is_operator(self) -> bool:
        return self.scope == "operator"


def new_secret(scope: Scope) -> str:
    return _PREFIXES[scope] + secrets.token_urlsafe(_SECRET_BYTES)


def hmac_of(secret: str, key_secret: bytes) -> str:
    """The stored form of an API key. Looking it up by this index compares no secret bytewise."""
    return hmac.new(key_secret, secret.encode(), hashlib.sha256).hexdigest()


def load_key_secret(settings: Settings) -> bytes:
    """The HMAC secret of the settings, else of a file in `home` that the first start makes."""
    if settings.key_secret is not None:
        return settings.key_secret.encode()
    path = settings.home / "key_secret"
    if not path.exists():
        _publish_secret(path, secrets.token_hex(_SECRET_BYTES))
    return path.read_bytes()


def _publish_secret(path: Path, secret: str) -> None:
    """Whole or not at all, and the first of several processes that start at once wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


_bearer = HTTPBearer(
    auto_error=False, description="An API key of the operator (`tt_op_…`) or a group (`tt_grp_…`)."
)


def _current_principal(
    state: State,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Principal:
    if credentials is None:
        raise NotAuthenticated("send an API key in the header `Authorization: Bearer tt_…`")
    # A transaction of its own: an open read would block this request's own write on SQLite.
    with state.database.read() as session:
        key = repository.find_live_key(session, hmac_of(credentials.credentials, state.key_secret))
    if key is None:
        raise NotAuthenticated("the API key is unknown or revoked: ask the operator for a new one")
    return Principal(key_id=key.id, scope=key.scope, group_id=key.group_id)


CurrentPrincipal = Annotated[Principal, Depends(_current_principal)]


def require_operator(principal: CurrentPrincipal) -> Principal:
    """Raises Forbidden for a group."""
    if not principal.is_operator:
        raise Forbidden("this needs a key of the operator; the key sent belongs to a group")
    return principal


def _group_member(principal: CurrentPrincipal) -> Principal:
    if principal.is_operator:
        raise Forbidden("this needs a key of a group; the key sent is the operator's")
    return principal


Operator = Annotated[Principal, Depends(require_operator)]
GroupMember = Annotated[Principal, Depends(_group_member)]
