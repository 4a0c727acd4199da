"""`Truthtune`: the service's resources as namespaces of one client."""

from types import TracebackType
from typing import Self

from client.audits import Audits
from client.http import Connection
from client.jobs import Jobs
from client.ledger import Invoices, Receipts, SigningKeys
from client.models import Models
from client.resources import AuditLog, Files, Groups, Keys, Rounds
from client.reward_models import RewardModels
from client.webhooks import WebhookEndpoints


class Truthtune:
    """A synchronous client; the key decides whether it speaks for the operator or for a group.

    `timeout` is in seconds, for each wait for the network. Every failure is an error of
    `api_schemas.errors`; `Unreachable` if no answer came. Use it as a context manager, or `close`.
    """

    def __init__(self, base_url: str, api_key: str, *, timeout: float = 60.0, retries: int = 4):
        self._connection = Connection(base_url, api_key, timeout=timeout, retries=retries)
        self.groups = Groups(self._connection)
        self.keys = Keys(self._connection)
        self.audit_log = AuditLog(self._connection)
        self.files = Files(self._connection)
        self.rounds = Rounds(self._connection)
        self.jobs = Jobs(self._connection)
        self.models = Models(self._connection)
        self.audits = Audits(self._connection)
        self.reward_models = RewardModels(self._connection)
        self.invoices = Invoices(self._connection)
        self.receipts = Receipts(self._connection)
        self.signing_keys = SigningKeys(self._connection)
        self.webhook_endpoints = WebhookEndpoints(self._connection)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
