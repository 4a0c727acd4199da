"""Previews: what a report would say of sample responses. They are their group's alone."""

from api_schemas.base import ListPage
from api_schemas.previews import Preview, PreviewDeleted
from api_schemas.reports import ReportPut
from client.http import Connection
from client.job_progress import OnProgress
from client.jobs import OnEvent, succeeded
from client.modes import Method, Mode, Resource
from client.pages import Listing


class Previews(Resource[Mode]):
    @Method
    async def create(
        self, round_id: str, report: ReportPut, *, idempotency_key: str | None = None
    ) -> Preview:
        """Queue the scoring of samples with a report, which is not submitted by it; `wait` gives
        what it would say."""
        path = f"/v1/rounds/{round_id}/report/preview"
        return await self._connection.create(Preview, path, report, idempotency_key)

    @Method
    async def get(self, preview_id: str) -> Preview:
        return await _preview(self._connection, preview_id)

    def list(self, round_id: str) -> Listing[Mode, Preview]:
        """Your group's in a round, newest first, without their results."""
        path = f"/v1/rounds/{round_id}/report/previews"
        return Listing(self._connection, path, ListPage[Preview])

    @Method
    async def wait(
        self,
        preview_id: str,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
    ) -> Preview:
        """Wait until it has its result, and tell of its job meanwhile as `jobs.wait` does.

        Raises JobFailed, with the job's reason, if it never will.
        """
        queued = await _preview(self._connection, preview_id)
        await succeeded(self._connection, queued.job_id, on_event, on_progress)
        return await _preview(self._connection, preview_id)

    @Method
    async def delete(self, preview_id: str) -> PreviewDeleted:
        """Forget a preview and its result. Raises Conflict until its job has ended."""
        path = f"/v1/report-previews/{preview_id}"
        return await self._connection.delete(PreviewDeleted, path)


async def _preview(connection: Connection, preview_id: str) -> Preview:
    return await connection.get(Preview, f"/v1/report-previews/{preview_id}")
