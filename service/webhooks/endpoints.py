"""Routes of webhook endpoints and their messages."""

from typing import Annotated

from fastapi import Depends

from api_schemas.base import ListPage
from api_schemas.errors import InvalidInput
from api_schemas.ids import WebhookEndpointId, WebhookMessageId
from api_schemas.webhooks import (
    WebhookEndpoint,
    WebhookEndpointCreate,
    WebhookEndpointDeleted,
    WebhookEndpointUpdate,
    WebhookMessage,
)
from service import audit
from service.auth import CurrentPrincipal
from service.bodies import StrictRoute
from service.dependencies import ReadSession, State, WriteSession
from service.errors import problem_responses
from service.idempotency import Idempotent
from service.pages import Page
from service.routing import Router
from service.settings import Settings
from service.webhooks import repository
from service.webhooks.addresses import ForbiddenAddress, require_host_allowed

router = Router(tags=["webhooks"], route_class=StrictRoute)
_BY_ID = "/webhook-endpoints/{webhook_endpoint_id}"


def _created(body: WebhookEndpointCreate, state: State) -> WebhookEndpointCreate:
    _require_reachable(body.url, state.settings)
    return body


def _updated(body: WebhookEndpointUpdate, state: State) -> WebhookEndpointUpdate:
    if body.url is not None:
        _require_reachable(body.url, state.settings)
    return body


def _require_reachable(url: str, settings: Settings) -> None:
    """What can be told without looking the name up. Raises InvalidInput (`url`)."""
    try:
        require_host_allowed(url, private_too=settings.webhook_private_addresses)
    except ForbiddenAddress as error:
        raise InvalidInput(f"url {url!r} is refused: {error}", param="url") from None


Created = Annotated[WebhookEndpointCreate, Depends(_created)]
Updated = Annotated[WebhookEndpointUpdate, Depends(_updated)]


@router.post(
    "/webhook-endpoints",
    status_code=201,
    summary="Make a webhook endpoint",
    responses=problem_responses(409),
)
def create_webhook_endpoint(
    principal: CurrentPrincipal, body: Created, state: State, idempotent: Idempotent
) -> WebhookEndpoint:
    """From now on the events that you ask for are sent to your `url`, each until it is answered
    with a 2xx status, and signed with the endpoint's own key (Standard Webhooks, `v1a`). You hear
    of what you may see, and may have 16 endpoints."""

    def work() -> WebhookEndpoint:
        made = repository.add_endpoint(idempotent.session, principal, state.vault, body)
        audit.record(idempotent.session, principal, "webhook_endpoint.created", made.id)
        return made

    return idempotent.run(body.model_dump(mode="json"), WebhookEndpoint, work)


@router.get("/webhook-endpoints", summary="List your webhook endpoints")
def list_webhook_endpoints(
    principal: CurrentPrincipal, session: ReadSession, page: Page
) -> ListPage[WebhookEndpoint]:
    """The endpoints that you made, newest first; nobody else sees them."""
    return repository.list_endpoints(session, principal, page)


@router.get(_BY_ID, summary="Show a webhook endpoint", responses=problem_responses(404))
def get_webhook_endpoint(
    webhook_endpoint_id: WebhookEndpointId, principal: CurrentPrincipal, session: ReadSession
) -> WebhookEndpoint:
    """An endpoint of yours, with the public keys that its messages are signed with."""
    return repository.get_endpoint(session, principal, webhook_endpoint_id)


@router.patch(_BY_ID, summary="Change a webhook endpoint", responses=problem_responses(404))
def update_webhook_endpoint(
    webhook_endpoint_id: WebhookEndpointId,
    principal: CurrentPrincipal,
    body: Updated,
    session: WriteSession,
) -> WebhookEndpoint:
    """Changes what is named. Messages of a disabled endpoint wait until it is enabled; of what
    happens meanwhile there are none."""
    changed = repository.update_endpoint(session, principal, webhook_endpoint_id, body)
    audit.record(session, principal, "webhook_endpoint.changed", webhook_endpoint_id)
    return changed


@router.delete(_BY_ID, summary="Delete a webhook endpoint", responses=problem_responses(404))
def delete_webhook_endpoint(
    webhook_endpoint_id: WebhookEndpointId, principal: CurrentPrincipal, session: WriteSession
) -> WebhookEndpointDeleted:
    """Deletes an endpoint of yours and all its messages, sent or not."""
    repository.delete_endpoint(session, principal, webhook_endpoint_id)
    audit.record(session, principal, "webhook_endpoint.deleted", webhook_endpoint_id)
    return WebhookEndpointDeleted(id=webhook_endpoint_id)


@router.post(
    f"{_BY_ID}/rotate-key",
    summary="Rotate the key of a webhook endpoint",
    responses=problem_responses(404),
)
def rotate_webhook_key(
    webhook_endpoint_id: WebhookEndpointId,
    principal: CurrentPrincipal,
    state: State,
    idempotent: Idempotent,
) -> WebhookEndpoint:
    """Makes a new key. For 24 hours messages are signed with the one before too, and `public_keys`
    shows both."""
    session = idempotent.session

    def work() -> WebhookEndpoint:
        rotated = repository.rotate_key(session, principal, state.vault, webhook_endpoint_id)
        audit.record(session, principal, "webhook_endpoint.key_rotated", webhook_endpoint_id)
        return rotated

    return idempotent.run({}, WebhookEndpoint, work)


@router.post(
    f"{_BY_ID}/test",
    status_code=201,
    summary="Send a test message",
    responses=problem_responses(404, 409),
)
def create_webhook_test(
    webhook_endpoint_id: WebhookEndpointId, principal: CurrentPrincipal, idempotent: Idempotent
) -> WebhookMessage:
    """Sends a message of type `webhook.test`, whatever the endpoint asked for; a Conflict if it is
    disabled."""
    return idempotent.run(
        {},
        WebhookMessage,
        lambda: repository.add_test_message(idempotent.session, principal, webhook_endpoint_id),
    )


@router.get(
    f"{_BY_ID}/messages",
    summary="List the messages to a webhook endpoint",
    responses=problem_responses(404),
)
def list_webhook_messages(
    webhook_endpoint_id: WebhookEndpointId,
    principal: CurrentPrincipal,
    session: ReadSession,
    page: Page,
) -> ListPage[WebhookMessage]:
    """Messages to an endpoint of yours, newest first, with what became of their last attempt."""
    return repository.list_messages(session, principal, webhook_endpoint_id, page)


@router.post(
    "/webhook-messages/{webhook_message_id}/replay",
    summary="Send a message again",
    responses=problem_responses(404, 409),
)
def replay_webhook_message(
    webhook_message_id: WebhookMessageId, principal: CurrentPrincipal, session: WriteSession
) -> WebhookMessage:
    """Sends a message again at once, delivered or not, under the same `webhook-id` and with all
    attempts before it; a Conflict if its endpoint is disabled."""
    return repository.replay(session, principal, webhook_message_id)
