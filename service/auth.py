"""API keys: who a request speaks for, and what that principal may do."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api_schemas.errors import Forbidden, NotAuthenticated
from api_schemas.groups import Access, Scope
from service.database import database_now
from service.dependencies import AppState, State
from service.groups import repository
from service.groups.repository import KnownKey
from service.key_secret import load_key_secret as load_key_secret

OPERATOR = "operator"
_PREFIXES: dict[Scope, str] = {"operator": "tt_op_", "group": "tt_grp_"}
_SECRET_BYTES = 32
_READING = ("GET", "HEAD")


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


_bearer = HTTPBearer(
    auto_error=False, description="An API key of the operator (`tt_op_…`) or a group (`tt_grp_…`)."
)


def principal_of(
    request: Request,
    state: State,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Principal:
    """Raises NotAuthenticated, RateLimited, and Forbidden for a key that may only read."""
    if credentials is None:
        raise NotAuthenticated("send an API key in the header `Authorization: Bearer tt_…`")
    secret_hmac = hmac_of(credentials.credentials, state.key_secret)
    # A key that was good goes on even where others at its address guess: behind one proxy all are.
    was_known = state.rate_limits.is_known(secret_hmac)
    if was_known:
        state.rate_limits.take_request(request, secret_hmac)
    else:
        state.rate_limits.require_may_try(request)
    try:
        key = _live_key(state, secret_hmac)
    except NotAuthenticated:
        state.rate_limits.note_failure(request, secret_hmac)
        raise
    if not was_known:
        state.rate_limits.take_request(request, secret_hmac)
    _require_access(request.method, key.access)
    return Principal(key_id=key.id, scope=key.scope, group_id=key.group_id)


def _live_key(state: AppState, secret_hmac: str) -> KnownKey:
    # Ended before the request's own queries: an open read would block its write on SQLite.
    with state.database.look_once() as connection:
        key = repository.find_unrevoked_key(connection, secret_hmac)
    if key is None:
        raise NotAuthenticated("the API key is unknown or revoked: ask the operator for a new one")
    if key.expires_at is not None:
        with state.database.look() as session:
            now = database_now(session)
        if key.expires_at <= now:
            raise NotAuthenticated(
                f"the API key expired at {key.expires_at.isoformat(timespec='seconds')}: use its "
                "successor, or ask the operator for a new one",
                code="key_expired",
            )
    return key


def _require_access(method: str, access: Access) -> None:
    if access == "read" and method not in _READING:
        raise Forbidden(
            f"this key may only read ({' and '.join(_READING)}); {method} needs one of access "
            "'full'",
            code="read_only_key",
        )


CurrentPrincipal = Annotated[Principal, Depends(principal_of)]


def require_operator(principal: Principal) -> Principal:
    """Raises Forbidden for a group."""
    if not principal.is_operator:
        raise Forbidden("this needs a key of the operator; the key sent belongs to a group")
    return principal


async def _group_member(principal: CurrentPrincipal) -> Principal:
    if principal.is_operator:
        raise Forbidden("this needs a key of a group; the key sent is the operator's")
    return principal


async def _operator(principal: CurrentPrincipal) -> Principal:
    return require_operator(principal)


Operator = Annotated[Principal, Depends(_operator)]
GroupMember = Annotated[Principal, Depends(_group_member)]
