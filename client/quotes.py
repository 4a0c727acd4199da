"""Quotes: what a round would take, before it is run. The operator's alone."""

from api_schemas.base import ListPage
from api_schemas.quotes import Quote, QuoteCreate
from client.http import Connection
from client.job_progress import OnProgress
from client.jobs import OnEvent, succeeded
from client.modes import Method, Mode, Resource
from client.pages import Listing


class Quotes(Resource[Mode]):
    @Method
    async def create(
        self,
        round_id: str,
        settings: QuoteCreate | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Quote:
        """Queue a quote for a round that has not run yet; `wait` gives its figures."""
        path = f"/v1/rounds/{round_id}/quote"
        return await self._connection.create(
            Quote, path, settings or QuoteCreate(), idempotency_key
        )

    @Method
    async def get(self, quote_id: str) -> Quote:
        return await _quote(self._connection, quote_id)

    def list(self, round_id: str) -> Listing[Mode, Quote]:
        """The quotes of a round, newest first, without their results."""
        return Listing(self._connection, f"/v1/rounds/{round_id}/quotes", ListPage[Quote])

    @Method
    async def wait(
        self,
        quote_id: str,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
    ) -> Quote:
        """Wait until it has its figures, and tell of its job meanwhile as `jobs.wait` does.

        Raises JobFailed, with the job's reason, if it never will.
        """
        queued = await _quote(self._connection, quote_id)
        await succeeded(self._connection, queued.job_id, on_event, on_progress)
        return await _quote(self._connection, quote_id)


async def _quote(connection: Connection, quote_id: str) -> Quote:
    return await connection.get(Quote, f"/v1/quotes/{quote_id}")
