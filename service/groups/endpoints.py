"""Routes of groups and keys."""

from datetime import UTC, datetime

from api_schemas.base import ListPage
from api_schemas.errors import InvalidInput
from api_schemas.groups import Group, GroupCreate, Key, KeyCreate, KeyRotate, KeyWithSecret
from api_schemas.ids import GroupId, KeyId
from service import audit, quotas
from service.auth import CurrentPrincipal, Operator, hmac_of, new_secret
from service.bodies import StrictRoute
from service.database import database_now
from service.dependencies import ReadSession, State, WriteSession
from service.errors import problem_responses
from service.groups import repository
from service.groups.rotation import require_future, rotate
from service.idempotency import Idempotent
from service.pages import Page
from service.routing import Router

router = Router(route_class=StrictRoute)


@router.post(
    "/groups",
    status_code=201,
    summary="Register a group",
    tags=["groups"],
    responses=problem_responses(409),
)
def create_group(principal: Operator, body: GroupCreate, idempotent: Idempotent) -> Group:
    """Registers a group under a name that no other has. Give it a key next. Operator only."""

    def work() -> Group:
        group = repository.add_group(idempotent.session, body.name, datetime.now(UTC))
        audit.record(idempotent.session, principal, "group.created", group.id)
        return group

    return idempotent.run(body.model_dump(mode="json"), Group, work)


@router.get("/groups", summary="List the groups", tags=["groups"])
def list_groups(principal: Operator, session: ReadSession, page: Page) -> ListPage[Group]:
    """All groups, newest first. Operator only."""
    return repository.list_groups(session, page)


@router.get(
    "/groups/{group_id}",
    summary="Show a group",
    tags=["groups"],
    responses=problem_responses(404),
)
def get_group(group_id: GroupId, principal: CurrentPrincipal, session: ReadSession) -> Group:
    """One group. The operator may see every group, a group only itself."""
    return repository.get_group(session, group_id, visible_to=principal.group_id)


@router.post(
    "/keys",
    status_code=201,
    summary="Make an API key",
    tags=["keys"],
    responses=problem_responses(404),
)
def create_key(
    principal: Operator, body: KeyCreate, session: WriteSession, state: State
) -> KeyWithSecret:
    """Makes a key for a group or for the operator, if wanted one that only reads or that expires.
    Its `secret` is shown this once: the service keeps only an HMAC, so an answer that got lost
    can't be had again; make another key then. Operator only."""
    if (body.scope == "group") != (body.group_id is not None):
        raise InvalidInput(
            f"a key of scope {body.scope!r} needs "
            + ("a group_id" if body.scope == "group" else "no group_id"),
            param="group_id",
        )
    if body.group_id is not None:
        repository.get_group(session, body.group_id, visible_to=None)
    now = database_now(session)
    require_future(body.expires_at, now)
    quotas.require_key(session, state.settings, body.group_id, now)
    secret = new_secret(body.scope)
    key = repository.add_key(
        session,
        body.scope,
        body.group_id,
        body.name,
        hmac_of(secret, state.key_secret),
        now,
        access=body.access,
        expires_at=body.expires_at,
    )
    audit.record(session, principal, "key.created", key.id)
    return KeyWithSecret(**key.model_dump(), secret=secret)


@router.get("/keys", summary="List the API keys", tags=["keys"])
def list_keys(principal: Operator, session: ReadSession, page: Page) -> ListPage[Key]:
    """All keys without their secrets, newest first, revoked ones too. Operator only."""
    return repository.list_keys(session, page)


@router.get("/keys/current", summary="Show the API key that asks", tags=["keys"])
def get_current_key(principal: CurrentPrincipal, session: ReadSession) -> Key:
    """The key that the request is sent with, without its secret: whom it speaks for, what it may
    do, and until when."""
    return repository.get_key(session, principal.key_id)


@router.get(
    "/keys/{key_id}", summary="Show an API key", tags=["keys"], responses=problem_responses(404)
)
def get_key(key_id: KeyId, principal: Operator, session: ReadSession) -> Key:
    """One key without its secret. Operator only."""
    return repository.get_key(session, key_id)


@router.delete(
    "/keys/{key_id}", summary="Revoke an API key", tags=["keys"], responses=problem_responses(404)
)
def revoke_key(key_id: KeyId, principal: Operator, session: WriteSession) -> Key:
    """Revokes a key from the next request on, for good; revoking twice changes nothing.
    Operator only."""
    key = repository.get_key(session, key_id)
    if key.revoked_at is not None:
        return key
    audit.record(session, principal, "key.revoked", key_id)
    return repository.revoke_key(session, key_id, datetime.now(UTC))


@router.post(
    "/keys/{key_id}/rotate",
    status_code=201,
    summary="Rotate an API key",
    tags=["keys"],
    responses=problem_responses(404, 409),
)
def rotate_key(
    key_id: KeyId, principal: CurrentPrincipal, body: KeyRotate, session: WriteSession, state: State
) -> KeyWithSecret:
    """Makes the key's successor, with the same scope and access, and lets the key itself expire
    after `grace_seconds`: until then both work, never more. The successor's `secret` is shown this
    once. The operator may rotate any key, a group's key itself."""
    row = repository.lock_key(session, key_id, None if principal.is_operator else principal.key_id)
    secret = new_secret("operator" if row.group_id is None else "group")
    successor = rotate(session, principal, row, body, hmac_of(secret, state.key_secret))
    audit.record(session, principal, "key.rotated", key_id)
    return KeyWithSecret(**successor.model_dump(), secret=secret)
