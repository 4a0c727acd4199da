"""Webhooks: endpoints of one's own, and the check of what arrives at them, which needs no service.

Source: Standard Webhooks specification (standardwebhooks.com), asymmetric signatures `v1a`.
"""

import base64
import binascii
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from api_schemas.base import ListPage
from api_schemas.errors import InvalidInput, TruthtuneError
from api_schemas.webhooks import (
    EVENT_TYPES,
    ID_HEADER,
    PUBLIC_KEY_PREFIX,
    SIGNATURE_HEADER,
    SIGNATURE_VERSION,
    TIMESTAMP_HEADER,
    WebhookEndpoint,
    WebhookEndpointCreate,
    WebhookEndpointDeleted,
    WebhookEndpointUpdate,
    WebhookEventType,
    WebhookMessage,
    WebhookPayload,
    signed_content,
)
from client.modes import Method, Mode, Resource
from client.pages import Listing

_PATH = "/v1/webhook-endpoints"


class NotGenuine(TruthtuneError):
    """What arrived must not be acted on: answer it with 400. `code` says what was wrong."""

    code = "webhook_not_genuine"


@dataclass(frozen=True)
class Received:
    """A message that an endpoint's key signed. Keep the id: a message may arrive more than once."""

    id: str
    payload: WebhookPayload


class WebhookEndpoints(Resource[Mode]):
    @Method
    async def create(
        self,
        url: str,
        event_types: Sequence[WebhookEventType] = EVENT_TYPES,
        *,
        idempotency_key: str | None = None,
    ) -> WebhookEndpoint:
        """Be told of these events at `url`; its `public_keys` are for `verify`."""
        body = WebhookEndpointCreate(url=url, event_types=list(event_types))
        return await self._connection.create(WebhookEndpoint, _PATH, body, idempotency_key)

    @Method
    async def get(self, endpoint_id: str) -> WebhookEndpoint:
        return await self._connection.get(WebhookEndpoint, f"{_PATH}/{endpoint_id}")

    def list(self) -> Listing[Mode, WebhookEndpoint]:
        return Listing(self._connection, _PATH, ListPage[WebhookEndpoint])

    @Method
    async def update(self, endpoint_id: str, changes: WebhookEndpointUpdate) -> WebhookEndpoint:
        return await self._connection.patch(WebhookEndpoint, f"{_PATH}/{endpoint_id}", changes)

    @Method
    async def delete(self, endpoint_id: str) -> WebhookEndpointDeleted:
        return await self._connection.delete(WebhookEndpointDeleted, f"{_PATH}/{endpoint_id}")

    @Method
    async def rotate_key(
        self, endpoint_id: str, *, idempotency_key: str | None = None
    ) -> WebhookEndpoint:
        """A new key; the one before signs as well for 24 hours."""
        path = f"{_PATH}/{endpoint_id}/rotate-key"
        return await self._connection.create(WebhookEndpoint, path, idempotency_key=idempotency_key)

    @Method
    async def test(self, endpoint_id: str, *, idempotency_key: str | None = None) -> WebhookMessage:
        """Send a message of type `webhook.test`."""
        path = f"{_PATH}/{endpoint_id}/test"
        return await self._connection.create(WebhookMessage, path, idempotency_key=idempotency_key)

    def messages(self, endpoint_id: str) -> Listing[Mode, WebhookMessage]:
        """Newest first, with what became of each."""
        path = f"{_PATH}/{endpoint_id}/messages"
        return Listing(self._connection, path, ListPage[WebhookMessage])

    @Method
    async def replay(self, message_id: str) -> WebhookMessage:
        """Send a message again, under the same id."""
        return await self._connection.act(
            WebhookMessage, f"/v1/webhook-messages/{message_id}/replay"
        )


def verify(
    body: bytes,
    headers: Mapping[str, str],
    public_keys: Sequence[str],
    tolerance_seconds: float = 300,
    now: float | None = None,
) -> Received:
    """The message, if one of the endpoint's `public_keys` (`whpk_…`) signed it just now.

    `body` is what arrived, byte for byte. `now` is in Unix seconds, the system's clock by default.
    Raises NotGenuine saying what is wrong with the message, InvalidInput for a malformed key.
    """
    keys = [_public_key(text) for text in public_keys]
    lower = {name.lower(): value for name, value in headers.items()}
    message_id, sent, signatures = (
        _header(lower, name) for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)
    )
    timestamp = _timestamp(sent)
    _require_signed(keys, signatures, signed_content(message_id, timestamp, body))
    _require_recent(timestamp, time.time() if now is None else now, tolerance_seconds)
    try:
        payload = WebhookPayload.model_validate_json(body, extra="ignore")
    except ValueError as error:
        raise NotGenuine(
            f"the signed body is no webhook: {error}", code="webhook_unreadable"
        ) from None
    return Received(message_id, payload)


def _header(headers: Mapping[str, str], name: str) -> str:
    if not headers.get(name):
        raise NotGenuine(f"the header {name} is missing", code="webhook_header_missing", param=name)
    return headers[name]


def _timestamp(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise NotGenuine(
            f"{TIMESTAMP_HEADER} {text[:100]!r} is no number of Unix seconds",
            code="webhook_timestamp_malformed",
            param=TIMESTAMP_HEADER,
        )
    return int(text)


def _require_signed(keys: Sequence[Ed25519PublicKey], header: str, content: bytes) -> None:
    """Signatures of other versions are passed over, as the specification wants it."""
    versions = [part.partition(",") for part in header.split()]
    signatures = [text for version, _, text in versions if version == SIGNATURE_VERSION]
    if not signatures:
        raise NotGenuine(
            f"{SIGNATURE_HEADER} holds no signature of version {SIGNATURE_VERSION}",
            code="webhook_signature_missing",
            param=SIGNATURE_HEADER,
        )
    if not any(_fits(key, text, content) for text in signatures for key in keys):
        raise NotGenuine(
            f"no signature fits any of the {len(keys)} public keys: the message was changed, or "
            "the endpoint has other keys (see its `public_keys`)",
            code="webhook_signature_wrong",
            param=SIGNATURE_HEADER,
        )


def _fits(key: Ed25519PublicKey, signature: str, content: bytes) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _require_recent(timestamp: int, now: float, tolerance_seconds: float) -> None:
    """Against messages that someone caught and sends again later."""
    age = now - timestamp
    if abs(age) > tolerance_seconds:
        when = f"{age:.0f} s old" if age > 0 else f"{-age:.0f} s ahead of this clock"
        raise NotGenuine(
            f"the attempt is {when}; at most {tolerance_seconds:g} s are accepted",
            code="webhook_too_old" if age > 0 else "webhook_too_new",
            param=TIMESTAMP_HEADER,
        )


def _public_key(text: str) -> Ed25519PublicKey:
    try:
        if not text.startswith(PUBLIC_KEY_PREFIX):
            raise ValueError
        raw = base64.b64decode(text.removeprefix(PUBLIC_KEY_PREFIX), validate=True)
        return Ed25519PublicKey.from_public_bytes(raw)
    except (binascii.Error, ValueError):
        raise InvalidInput(
            f"public key {text[:100]!r} is not {PUBLIC_KEY_PREFIX} and 32 bytes in base 64",
            param="public_keys",
        ) from None
