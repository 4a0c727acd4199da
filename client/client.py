"""`Truthtune` and `AsyncTruthtune`: the service's resources as namespaces of one client."""

from types import TracebackType
from typing import Generic, Self

from client.audits import Audits
from client.corpora import Corpora
from client.evaluations import Evaluations
from client.files import Files
from client.fine_tuned_models import BaseModels
from client.http import Connection
from client.jobs import Jobs
from client.ledger import Invoices, Receipts, SigningKeys
from client.models import Models
from client.modes import Async, Mode, Sync, finish
from client.previews import Previews
from client.quotes import Quotes
from client.resources import AuditLog, Groups, Keys, Rounds
from client.reward_models import RewardModels
from client.transports import AsyncTransport, BlockingTransport
from client.webhooks import WebhookEndpoints


class _Resources(Generic[Mode]):
    def __init__(self, connection: Connection):
        self._connection = connection
        self.groups: Groups[Mode] = Groups(connection)
        self.keys: Keys[Mode] = Keys(connection)
        self.audit_log: AuditLog[Mode] = AuditLog(connection)
        self.files: Files[Mode] = Files(connection)
        self.rounds: Rounds[Mode] = Rounds(connection)
        self.jobs: Jobs[Mode] = Jobs(connection)
        self.models: Models[Mode] = Models(connection)
        self.audits: Audits[Mode] = Audits(connection)
        self.reward_models: RewardModels[Mode] = RewardModels(connection)
        self.corpora: Corpora[Mode] = Corpora(connection)
        self.base_models: BaseModels[Mode] = BaseModels(connection)
        self.evaluations: Evaluations[Mode] = Evaluations(connection)
        self.quotes: Quotes[Mode] = Quotes(connection)
        self.previews: Previews[Mode] = Previews(connection)
        self.invoices: Invoices[Mode] = Invoices(connection)
        self.receipts: Receipts[Mode] = Receipts(connection)
        self.signing_keys: SigningKeys[Mode] = SigningKeys(connection)
        self.webhook_endpoints: WebhookEndpoints[Mode] = WebhookEndpoints(connection)


class Truthtune(_Resources[Sync]):
    """A synchronous client; the key decides whether it speaks for the operator or for a group.

    `timeout` is in seconds, for each wait for the network. Every failure is an error of
    `api_schemas.errors`; `Unreachable` if no answer came. Use it as a context manager, or `close`.
    Threads may share it; an iteration over a list or a stream belongs to one thread.
    """

    def __init__(self, base_url: str, api_key: str, *, timeout: float = 60.0, retries: int = 4):
        super().__init__(
            Connection(base_url, api_key, BlockingTransport, timeout=timeout, retries=retries)
        )

    def close(self) -> None:
        finish(self._connection.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncTruthtune(_Resources[Async]):
    """The same for asyncio: `await` every method, iterate over lists and streams by `async for`.

    For one event loop, whose tasks may share it. A task that is cancelled gives its connection
    back, and leaves a download to be continued. Use it by `async with`, or `await close()`.
    """

    def __init__(self, base_url: str, api_key: str, *, timeout: float = 60.0, retries: int = 4):
        super().__init__(
            Connection(base_url, api_key, AsyncTransport, timeout=timeout, retries=retries)
        )

    async def close(self) -> None:
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
