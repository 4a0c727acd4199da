"""Prefixed identifiers, sortable by the millisecond they were made."""

import secrets
import time
from collections.abc import Callable
from typing import Annotated

from pydantic import StringConstraints

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32: no i, l, o, u
_TIME_BITS, _RANDOM_BITS = 48, 82
_LENGTH = (_TIME_BITS + _RANDOM_BITS) // 5


def new_id(prefix: str, random_bits: Callable[[int], int] = secrets.randbits) -> str:
    """`prefix_` and 26 characters: 48 bits of Unix milliseconds, 82 random bits."""
    value = (time.time_ns() // 1_000_000) << _RANDOM_BITS | random_bits(_RANDOM_BITS)
    digits = []
    for _ in range(_LENGTH):
        value, digit = divmod(value, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return f"{prefix}_{''.join(reversed(digits))}"


def _identifier(prefix: str) -> StringConstraints:
    return StringConstraints(pattern=rf"^{prefix}_[0-9a-z]{{{_LENGTH}}}$")


GroupId = Annotated[str, _identifier("grp")]
KeyId = Annotated[str, _identifier("key")]
FileId = Annotated[str, _identifier("file")]
RoundId = Annotated[str, _identifier("rnd")]
ReportId = Annotated[str, _identifier("rep")]
JobId = Annotated[str, _identifier("job")]
ModelId = Annotated[str, _identifier("mdl")]
InvoiceId = Annotated[str, _identifier("inv")]
ReceiptId = Annotated[str, _identifier("rcpt")]
EventId = Annotated[str, _identifier("evt")]
AuditId = Annotated[str, _identifier("aud")]
RewardModelId = Annotated[str, _identifier("rm")]
RerankingId = Annotated[str, _identifier("rrk")]
QuoteId = Annotated[str, _identifier("quo")]
PreviewId = Annotated[str, _identifier("prv")]
SigningKeyId = Annotated[str, _identifier("sgk")]
PaymentId = Annotated[str, _identifier("pay")]
PostingId = Annotated[str, _identifier("pst")]
CreditNoteId = Annotated[str, _identifier("cn")]
WebhookEndpointId = Annotated[str, _identifier("whe")]
WebhookMessageId = Annotated[str, _identifier("msg")]
CorpusId = Annotated[str, _identifier("corp")]
BaseModelId = Annotated[str, _identifier("bm")]
EvaluationId = Annotated[str, _identifier("evl")]
LogId = Annotated[str, _identifier("log")]

Sha256 = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""A digest as `sha256:` and 64 hexadecimal digits."""
