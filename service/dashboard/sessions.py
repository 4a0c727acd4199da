"""Who is signed in: an API key, sealed in a cookie that no script can read.

Nothing is stored. A session ends with its key, by signing out, or after LIFETIME_SECONDS.
"""

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from api_schemas.errors import NotAuthenticated, TruthtuneError
from api_schemas.groups import Key
from service.auth import principal_of
from service.dependencies import AppState, State
from service.limits import JSON_BYTES
from service.vault import DamagedSeal, Vault

COOKIE = "truthtune_session"
PATH = "/dashboard"
LIFETIME_SECONDS = 12 * 3600
_CONTEXT = "dashboard session"
_UPLOAD_FIELDS = 200
_UPLOAD_FIELD_BYTES = 64 * 2**10
"""What a form may hold beside its file; one without a file is bounded as a whole, like JSON."""

_CSRF_FIELD = "csrf_token"
_CSRF_HEADER = "X-CSRF-Token"


class SignInNeeded(TruthtuneError):
    """Nobody is signed in, or the session's key is good no longer."""

    status = 401
    code = "sign_in_needed"


class ForeignForm(TruthtuneError):
    """A POST that did not come from a page of this session."""

    status = 403
    code = "foreign_form"


class Session(BaseModel, frozen=True):
    """`key` as it was when its owner signed in; whether it is still good the API finds."""

    secret: str = Field(repr=False)
    key: Key
    csrf_token: str = Field(repr=False)
    expires_at: float = Field(description="Seconds since 1970.")

    @property
    def is_operator(self) -> bool:
        return self.key.scope == "operator"

    @property
    def may_write(self) -> bool:
        return self.key.access == "full"


def new_session(secret: str, key: Key) -> Session:
    return Session(
        secret=secret,
        key=key,
        csrf_token=secrets.token_urlsafe(32),
        expires_at=time.time() + LIFETIME_SECONDS,
    )


def set_cookie(response: Response, request: Request, vault: Vault, session: Session) -> None:
    """SameSite=Lax: a link from elsewhere finds its reader signed in, a form from elsewhere not."""
    sealed = vault.seal(session.model_dump_json().encode(), _CONTEXT)
    response.set_cookie(
        COOKIE,
        base64.urlsafe_b64encode(sealed).decode(),
        max_age=LIFETIME_SECONDS,
        path=PATH,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def delete_cookie(response: Response) -> None:
    response.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="lax")


def find_session(request: Request, vault: Vault) -> Session | None:
    """None for no cookie, one that was changed, or one that is too old."""
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        return None
    try:
        sealed = base64.urlsafe_b64decode(cookie)
        session = Session.model_validate_json(vault.open(sealed, _CONTEXT))
    except (binascii.Error, DamagedSeal, ValueError):
        return None
    return session if session.expires_at > time.time() else None


def _require_session(request: Request, state: State) -> Session:
    session = find_session(request, state.vault)
    if session is None:
        raise SignInNeeded("sign in with an API key")
    return session


SignedIn = Annotated[Session, Depends(_require_session)]


def require_own_page(request: Request) -> None:
    """Raises ForeignForm for a POST that a browser says comes from another site's page.

    For the one form that has no session yet: else another could sign its own key in here, and read
    what its victim then reports. Programs send neither header.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        own = site in ("same-origin", "none")
    else:  # an older browser, or one that reached us by plain http
        own = origin is None or urlsplit(origin).netloc == request.url.netloc
    if not own:
        raise ForeignForm("this form came from another site's page: sign in from the page here")


async def _checked_form(
    request: Request, session: SignedIn, state: State
) -> AsyncIterator[FormData]:
    """A form of our own pages: another site knows neither the token nor how to send the header.

    It is read only for a key that is good and within its rate: a body takes room, and a while.
    """
    await run_in_threadpool(_require_good_key, request, state, session)
    async with _form(request) as form:
        token = request.headers.get(_CSRF_HEADER) or form.get(_CSRF_FIELD)
        if not isinstance(token, str) or not hmac.compare_digest(token, session.csrf_token):
            raise ForeignForm("this form is not of your present session: load its page again")
        yield form


def _form(request: Request) -> AbstractAsyncContextManager[FormData]:
    if request.headers.get("Content-Type", "").startswith("multipart/"):
        return request.form(
            max_files=1, max_fields=_UPLOAD_FIELDS, max_part_size=_UPLOAD_FIELD_BYTES
        )
    return request.form(max_part_size=JSON_BYTES)


def _require_good_key(request: Request, state: AppState, session: Session) -> None:
    credentials = HTTPAuthorizationCredentials(scheme="Bearer", credentials=session.secret)
    try:
        principal_of(request, state, credentials)
    except NotAuthenticated as error:
        raise SignInNeeded(error.message) from None


CheckedForm = Annotated[FormData, Depends(_checked_form)]
"""The fields of a POST that came from a page of this session."""
