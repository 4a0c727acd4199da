"""Audits: settled rounds played again with false reports. The operator's alone."""

from api_schemas.audits import Audit, AuditCreate
from api_schemas.base import ListPage
from client.modes import Method, Mode, Resource
from client.pages import Listing


class Audits(Resource[Mode]):
    @Method
    async def create(
        self,
        round_id: str,
        settings: AuditCreate | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Audit:
        """Queue an audit of a settled round; `jobs.wait` for its `job_id`, then `get` it again."""
        path = f"/v1/rounds/{round_id}/audits"
        return await self._connection.create(
            Audit, path, settings or AuditCreate(), idempotency_key
        )

    def list(self, round_id: str) -> Listing[Mode, Audit]:
        """The audits of a round, newest first, without their results."""
        return Listing(self._connection, f"/v1/rounds/{round_id}/audits", ListPage[Audit])

    @Method
    async def get(self, audit_id: str) -> Audit:
        return await self._connection.get(Audit, f"/v1/audits/{audit_id}")

    @Method
    async def plot(self, audit_id: str) -> bytes:
        """Utility against how far a report departs from the truth, as SVG."""
        return await self._connection.content(f"/v1/audits/{audit_id}/plot.svg")
