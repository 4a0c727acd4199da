"""Audits: settled rounds played again with false reports. The operator's alone."""

from api_schemas.audits import Audit, AuditCreate
from api_schemas.base import ListPage
from client.pages import Listing
from client.resources import Resource


class Audits(Resource):
    def create(
        self,
        round_id: str,
        settings: AuditCreate | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Audit:
        """Queue an audit of a settled round; `jobs.wait` for its `job_id`, then `get` it again."""
        path = f"/v1/rounds/{round_id}/audits"
        return self._connection.create(Audit, path, settings or AuditCreate(), idempotency_key)

    def list(self, round_id: str) -> Listing[Audit]:
        """The audits of a round, newest first, without their results."""
        return Listing(self._connection, f"/v1/rounds/{round_id}/audits", ListPage[Audit])

    def get(self, audit_id: str) -> Audit:
        return self._connection.get(Audit, f"/v1/audits/{audit_id}")

    def plot(self, audit_id: str) -> bytes:
        """Utility against how far a report departs from the truth, as SVG."""
        return self._connection.send("GET", f"/v1/audits/{audit_id}/plot.svg").content
