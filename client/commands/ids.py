"""Arguments that name something of the service; a shell completes them from its lists.

It asks once, for the newest hundred, with a short patience; whatever goes wrong, it offers nothing,
for a message would end up in the line that is being typed.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from client.client import Truthtune
from client.commands.context import address_of

_PATIENCE_SECONDS = 1.0

Lists = Callable[[Truthtune], Any]
Offer = tuple[str, str]
"""What may be typed, and what it is."""


def offered(
    context: typer.Context,
    incomplete: str,
    newest: Lists,
    offers: Callable[[Any], Iterable[Offer]],
) -> list[Offer]:
    """The offers of the newest items that start with what is typed already."""
    try:
        address = address_of(context)
        with Truthtune(
            address.url, address.api_key, timeout=_PATIENCE_SECONDS, retries=0
        ) as client:
            items = newest(client).page().data
        return [
            offer for item in items for offer in offers(item) if offer[0].startswith(incomplete)
        ]
    except Exception:
        return []


def _argument(newest: Lists, *told: str) -> Any:
    """An argument that is an id; beside it, the fields `told` of what it names."""

    def complete(context: typer.Context, incomplete: str) -> list[Offer]:
        return offered(context, incomplete, newest, lambda item: [(item.id, _told(item, told))])

    return typer.Argument(autocompletion=complete)


def _told(item: BaseModel, names: Iterable[str]) -> str:
    values = []
    for name in names:
        value: Any = item
        for part in name.split("."):
            value = getattr(value, part)
        values.append("-" if value is None else str(value))
    return ", ".join(values)


def complete_group(context: typer.Context, incomplete: str) -> list[Offer]:
    """Groups by id or by name."""
    return offered(
        context,
        incomplete,
        lambda client: client.groups.list(),
        lambda group: [(group.id, group.name), (group.name, group.id)],
    )


BaseModelId = Annotated[str, _argument(lambda c: c.base_models.list(), "status", "name")]
CorpusId = Annotated[str, _argument(lambda client: client.corpora.list(), "status", "name")]
EvaluationId = Annotated[str, _argument(lambda c: c.evaluations.list(), "status", "name")]
FileId = Annotated[str, _argument(lambda client: client.files.list(), "purpose", "filename")]
GroupId = Annotated[str, _argument(lambda client: client.groups.list(), "name")]
InvoiceId = Annotated[str, _argument(lambda client: client.invoices.list(), "status", "number")]
JobId = Annotated[str, _argument(lambda client: client.jobs.list(), "kind", "status")]
KeyId = Annotated[str, _argument(lambda client: client.keys.list(), "scope", "name")]
ModelId = Annotated[str, _argument(lambda client: client.models.list(), "base_model")]
ReceiptId = Annotated[str, _argument(lambda client: client.receipts.list(), "invoice_id")]
RewardModelId = Annotated[str, _argument(lambda c: c.reward_models.list(), "status", "name")]
RoundId = Annotated[
    str, _argument(lambda client: client.rounds.list(), "state", "announcement.name")
]
WebhookEndpointId = Annotated[str, _argument(lambda c: c.webhook_endpoints.list(), "status", "url")]
