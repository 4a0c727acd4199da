"""Webhooks by the Standard Webhooks specification (standardwebhooks.com), signed with Ed25519.

A message is a POST whose headers are `webhook-id`, `webhook-timestamp` (Unix seconds of this
attempt) and `webhook-signature`: `v1a,` and 64 bytes in base 64, several with spaces between.
"""

from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.ids import (
    CreditNoteId,
    GroupId,
    InvoiceId,
    JobId,
    ReceiptId,
    RoundId,
    WebhookEndpointId,
    WebhookMessageId,
)
from api_schemas.jobs import JobKind, JobStatus
from api_schemas.ledger import InvoiceStatus
from api_schemas.rounds import Currency, RoundState

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
SIGNATURE_VERSION = "v1a"
PUBLIC_KEY_PREFIX = "whpk_"

WebhookEventType = Literal[
    "round.opened",
    "round.closed",
    "round.settled",
    "round.failed",
    "round.cancelled",
    "invoice.opened",
    "invoice.paid",
    "invoice.voided",
    "invoice.uncollectible",
    "credit_note.created",
    "receipt.created",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
]
EVENT_TYPES: tuple[WebhookEventType, ...] = get_args(WebhookEventType)
TEST_TYPE = "webhook.test"
"""Asked for by hand, so no endpoint needs to name it."""

EndpointStatus = Literal["enabled", "disabled"]
MessageStatus = Literal["pending", "delivered", "failed"]


def signed_content(message_id: str, timestamp: int, body: bytes) -> bytes:
    """The bytes that a signature covers: `{id}.{timestamp}.{body}`."""
    return f"{message_id}.{timestamp}.".encode() + body


def _web_address(url: str) -> str:
    """http or https, a host, no user, no fragment. Where it may lead is judged at each delivery."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"no URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("must start with https://")
    if "@" in parts.netloc:
        raise ValueError("must hold no user and no password: messages are signed instead")
    if not parts.hostname or port == 0:
        raise ValueError("names no host, or the port 0")
    if "#" in url:
        raise ValueError("must hold no fragment (#…): it is never sent")
    return url


def _no_repetition(types: list[WebhookEventType]) -> list[WebhookEventType]:
    if len(set(types)) < len(types):
        raise ValueError("names a type twice")
    return types


WebhookUrl = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2000,
        pattern=r"^[\x21-\x7e]+$",
        description="https, to a public address; other hosts' names in Punycode.",
    ),
    AfterValidator(_web_address),
]
EventTypes = Annotated[
    list[WebhookEventType],
    Field(min_length=1, max_length=len(EVENT_TYPES)),
    AfterValidator(_no_repetition),
]


class WebhookEndpointCreate(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.WEBHOOK_ENDPOINT_CREATE]})

    url: WebhookUrl
    event_types: EventTypes = Field(
        list(EVENT_TYPES), description="What to be told of; everything that there is by default."
    )


class WebhookEndpointUpdate(Schema):
    """What is absent or null stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "disabled"}]})

    url: WebhookUrl | None = None
    event_types: EventTypes | None = None
    status: EndpointStatus | None = None


class WebhookEndpoint(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.WEBHOOK_ENDPOINT]})

    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    id: WebhookEndpointId
    url: str
    event_types: list[WebhookEventType]
    status: EndpointStatus = Field(
        description="`disabled` by its owner, or by an answer 410 Gone: nothing is sent to it, and "
        "what happens meanwhile is not told later."
    )
    public_keys: list[str] = Field(
        description="`whpk_` and the Ed25519 key in base 64, the newest first. Each signs every "
        "message: two, for a day after a rotation."
    )
    created_at: Timestamp


class WebhookEndpointDeleted(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.WEBHOOK_ENDPOINT_DELETED]})

    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    id: WebhookEndpointId
    deleted: Literal[True] = True


class WebhookPayload(Schema):
    """The body of a message."""

    type: str
    timestamp: Timestamp = Field(description="When it happened; the attempt's is in a header.")
    data: dict[str, Any]


class WebhookMessage(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.WEBHOOK_MESSAGE]})

    object: Literal["webhook_message"] = "webhook_message"
    id: WebhookMessageId = Field(description="Its `webhook-id`, the same at every attempt.")
    webhook_endpoint_id: WebhookEndpointId
    payload: WebhookPayload
    status: MessageStatus = Field(description="`failed` once every attempt has failed.")
    attempts: int = Field(description="Since it was made, or replayed last.")
    next_attempt_at: Timestamp | None
    last_status: int | None = Field(description="HTTP status of the last answer; null if none.")
    last_error: str | None
    created_at: Timestamp
    delivered_at: Timestamp | None


class RoundNews(Schema):
    """`data` of `round.…`: nothing of reports, not even how many there are."""

    round_id: RoundId
    state: RoundState


class InvoiceNews(Schema):
    """`data` of `invoice.…`."""

    invoice_id: InvoiceId
    round_id: RoundId
    group_id: GroupId
    number: int | None
    status: InvoiceStatus
    amount_micro_units: int
    currency: Currency


class CreditNoteNews(Schema):
    """`data` of `credit_note.created`; the invoice's status is that after the note."""

    credit_note_id: CreditNoteId
    number: int
    amount_micro_units: int
    invoice: InvoiceNews


class ReceiptNews(Schema):
    """`data` of `receipt.created`."""

    receipt_id: ReceiptId
    invoice_id: InvoiceId
    round_id: RoundId
    group_id: GroupId
    amount_micro_units: int
    currency: Currency


class JobNews(Schema):
    """`data` of `job.…`: jobs of one's own, not those of rounds, of which `round.…` tells."""

    job_id: JobId
    kind: JobKind
    status: JobStatus


class PingNews(Schema):
    """`data` of `webhook.test`."""

    webhook_endpoint_id: WebhookEndpointId
