"""Groups and API keys: register, make, rotate, revoke. A secret is shown once."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.errors import Problem
from api_schemas.groups import DEFAULT_GRACE_SECONDS, Group, Key, KeyWithSecret
from service.dashboard.api import Api, Refused, SessionApi
from service.dashboard.forms import moment_of, new_idempotency_key, number_of, texts
from service.dashboard.operator.names import group_names
from service.dashboard.pages import go_to, render
from service.dashboard.sessions import PATH, CheckedForm, Session, SignedIn

router = APIRouter()
FormName = Literal["group", "key", "rotation", ""]
_NEW_KEY = {"for": "", "key_name": "", "access": "full", "expires_at": ""}
_OPERATOR = "operator"


@router.get(f"{PATH}/keys")
async def list_keys(
    request: Request,
    session: SignedIn,
    api: SessionApi,
    after: str | None = None,
    groups_after: str | None = None,
) -> Response:
    return await _page(request, session, api, after=after, groups_after=groups_after)


@router.post(f"{PATH}/groups")
async def register_group(
    request: Request, session: SignedIn, api: SessionApi, form: CheckedForm
) -> Response:
    values = texts(form)
    body = {"name": values.get("name", "").strip()}
    try:
        made = await api.post(Group, "/v1/groups", body, values.get("idempotency_key"))
    except Refused as refused:
        return await _page(request, session, api, "group", values, refused.problem)
    return go_to(f"{PATH}/keys?made={made.id}#new-key")


@router.post(f"{PATH}/keys")
async def make_key(
    request: Request, session: SignedIn, api: SessionApi, form: CheckedForm
) -> Response:
    """Answered with the secret itself: there is no second time, so nothing is redirected to."""
    values = _NEW_KEY | texts(form)
    is_operators = values["for"] == _OPERATOR
    body: dict[str, Any] = {
        "scope": "operator" if is_operators else "group",
        "group_id": None if is_operators else values["for"],
        "name": values["key_name"].strip(),
        "access": values["access"],
        "expires_at": moment_of(values["expires_at"]) if values["expires_at"] else None,
    }
    try:
        made = await api.post(KeyWithSecret, "/v1/keys", body)
    except Refused as refused:
        renamed = {"group_id": "for", "name": "key_name"}
        problem = refused.problem
        problem = problem.model_copy(
            update={"param": renamed.get(problem.param or "", problem.param)}
        )
        return await _page(request, session, api, "key", values, problem)
    return await _shown_once(request, session, api, made)


@router.post(f"{PATH}/keys/{{key_id}}/rotate")
async def rotate_key(
    request: Request, session: SignedIn, api: SessionApi, form: CheckedForm, key_id: str
) -> Response:
    given = texts(form).get("grace_seconds", str(DEFAULT_GRACE_SECONDS))
    body = {"grace_seconds": number_of(given)}
    try:
        made = await api.post(KeyWithSecret, f"/v1/keys/{key_id}/rotate", body)
    except Refused as refused:
        return await _page(request, session, api, "rotation", {}, refused.problem)
    return await _shown_once(request, session, api, made)


@router.post(f"{PATH}/keys/{{key_id}}/revoke")
async def revoke_key(
    request: Request, session: SignedIn, api: SessionApi, form: CheckedForm, key_id: str
) -> Response:
    await api.delete(Key, f"/v1/keys/{key_id}")
    return go_to(f"{PATH}/keys")


async def _shown_once(
    request: Request, session: Session, api: Api, made: KeyWithSecret
) -> Response:
    group = await api.get(Group, f"/v1/groups/{made.group_id}") if made.group_id else None
    return render(
        request, "operator/new_key.html", session, HTTPStatus.CREATED, key=made, group=group
    )


async def _page(
    request: Request,
    session: Session,
    api: Api,
    of_form: FormName = "",
    values: Mapping[str, str] | None = None,
    problem: Problem | None = None,
    after: str | None = None,
    groups_after: str | None = None,
) -> Response:
    """`values` and `problem` are those of the form that was refused."""
    keys = await api.get(ListPage[Key], "/v1/keys", after=after, limit=25)
    groups = await api.get(ListPage[Group], "/v1/groups", after=groups_after, limit=25)
    names = await group_names(api)
    chosen = {"for": request.query_params.get("made", "")}
    filled = {"group": {"name": ""}, "key": _NEW_KEY | chosen}
    if of_form in filled:
        filled[of_form] = filled[of_form] | dict(values or {})
    return render(
        request,
        "operator/keys.html",
        session,
        HTTPStatus.OK if problem is None else problem.status,
        keys=keys,
        groups=groups,
        names=names,
        of_form=of_form,
        filled=filled,
        problem=problem,
        grace_hours=DEFAULT_GRACE_SECONDS // 3600,
        grace_seconds=DEFAULT_GRACE_SECONDS,
        idempotency_key=new_idempotency_key(),
    )
