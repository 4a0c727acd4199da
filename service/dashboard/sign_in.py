"""Signing in with an API key, and out."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from api_schemas.groups import Key
from service.dashboard.api import Api, Refused, client_of
from service.dashboard.pages import go_to, render
from service.dashboard.sessions import (
    PATH,
    CheckedForm,
    SignInNeeded,
    delete_cookie,
    find_session,
    new_session,
    require_own_page,
    set_cookie,
)
from service.dependencies import State

router = APIRouter()


@router.get("/")
def root() -> RedirectResponse:
    return go_to(PATH)


@router.get(PATH)
def home(request: Request, state: State) -> RedirectResponse:
    signed_in = find_session(request, state.vault) is not None
    return go_to(f"{PATH}/rounds" if signed_in else f"{PATH}/sign-in")


@router.get(f"{PATH}/sign-in")
def show_sign_in(request: Request, next: str = PATH) -> Response:
    return render(request, "sign_in.html", None, next=_own_page(next), error=None)


@router.post(f"{PATH}/sign-in")
async def sign_in(
    request: Request,
    state: State,
    api_key: Annotated[str, Form(max_length=200)] = "",
    next: Annotated[str, Form(max_length=2000)] = PATH,
) -> Response:
    require_own_page(request)
    secret = api_key.strip()
    try:
        async with client_of(request, secret) as http:
            key = await Api(http).get(Key, "/v1/keys/current")
    except (SignInNeeded, Refused, UnicodeEncodeError) as error:
        status = error.problem.status if isinstance(error, Refused) else 401
        reason = "an API key has no such characters" if isinstance(error, ValueError) else error
        return render(
            request, "sign_in.html", None, status, next=_own_page(next), error=str(reason)
        )
    response = go_to(_own_page(next))
    set_cookie(response, request, state.vault, new_session(secret, key))
    return response


@router.post(f"{PATH}/sign-out")
def sign_out(form: CheckedForm) -> RedirectResponse:
    response = go_to(f"{PATH}/sign-in")
    delete_cookie(response)
    return response


def _own_page(path: str) -> str:
    """`next` comes from an address that anyone may have written: it leads nowhere else."""
    own = path == PATH or path.startswith(f"{PATH}/")
    return path if own and "\\" not in path and path.isprintable() else PATH
