"""Groups, keys, the audit log, and rounds with their reports."""

from datetime import datetime
from pathlib import Path

from api_schemas.audit_log import AuditLogEntry
from api_schemas.base import ListPage
from api_schemas.certificates import Certificate
from api_schemas.groups import (
    DEFAULT_GRACE_SECONDS,
    Access,
    Group,
    GroupCreate,
    Key,
    KeyCreate,
    KeyRotate,
    KeyWithSecret,
)
from api_schemas.outcomes import Outcome
from api_schemas.reports import Report, ReportDeleted, ReportPut, UnsealedReports, UnsealRequest
from api_schemas.rounds import Round, RoundCreate
from client.downloads import OnDownload, fetch_blob
from client.modes import Method, Mode, Resource
from client.pages import Listing


class Groups(Resource[Mode]):
    @Method
    async def create(self, name: str, *, idempotency_key: str | None = None) -> Group:
        body = GroupCreate(name=name)
        return await self._connection.create(Group, "/v1/groups", body, idempotency_key)

    @Method
    async def get(self, group_id: str) -> Group:
        return await self._connection.get(Group, f"/v1/groups/{group_id}")

    def list(self) -> Listing[Mode, Group]:
        return Listing(self._connection, "/v1/groups", ListPage[Group])

    @Method
    async def create_key(
        self,
        group_id: str,
        name: str = "",
        *,
        access: Access = "full",
        expires_at: datetime | None = None,
    ) -> KeyWithSecret:
        """A key that speaks for the group. Its secret is shown this once."""
        body = KeyCreate(
            scope="group", group_id=group_id, name=name, access=access, expires_at=expires_at
        )
        return await self._connection.act(KeyWithSecret, "/v1/keys", body)


class Keys(Resource[Mode]):
    @Method
    async def create_operator(
        self, name: str = "", *, access: Access = "full", expires_at: datetime | None = None
    ) -> KeyWithSecret:
        body = KeyCreate(scope="operator", name=name, access=access, expires_at=expires_at)
        return await self._connection.act(KeyWithSecret, "/v1/keys", body)

    @Method
    async def rotate(
        self,
        key_id: str,
        *,
        grace_seconds: int = DEFAULT_GRACE_SECONDS,
        expires_at: datetime | None = None,
    ) -> KeyWithSecret:
        """The key's successor; its secret is shown this once. The key itself works on for
        `grace_seconds`. A group rotates the key that it asks with."""
        body = KeyRotate(grace_seconds=grace_seconds, expires_at=expires_at)
        return await self._connection.act(KeyWithSecret, f"/v1/keys/{key_id}/rotate", body)

    @Method
    async def get(self, key_id: str) -> Key:
        return await self._connection.get(Key, f"/v1/keys/{key_id}")

    def list(self) -> Listing[Mode, Key]:
        return Listing(self._connection, "/v1/keys", ListPage[Key])

    @Method
    async def revoke(self, key_id: str) -> Key:
        return await self._connection.delete(Key, f"/v1/keys/{key_id}")


class AuditLog(Resource[Mode]):
    """Operator only."""

    def list(
        self, *, subject: str | None = None, action: str | None = None
    ) -> Listing[Mode, AuditLogEntry]:
        """Who did what, newest first; about one id, or of one action, if these are given."""
        given = {"subject": subject, "action": action}
        filters = {name: value for name, value in given.items() if value is not None}
        return Listing(self._connection, "/v1/audit-log", ListPage[AuditLogEntry], filters)


class Rounds(Resource[Mode]):
    @Method
    async def create(
        self, announcement: RoundCreate, *, idempotency_key: str | None = None
    ) -> Round:
        """Announce a round; it is a draft until `open`."""
        return await self._connection.create(Round, "/v1/rounds", announcement, idempotency_key)

    @Method
    async def open(self, round_id: str) -> Round:
        return await self._connection.act(Round, f"/v1/rounds/{round_id}/open")

    @Method
    async def close(self, round_id: str) -> Round:
        """End the reports and queue the job; the round's `job_id` names it."""
        return await self._connection.act(Round, f"/v1/rounds/{round_id}/close")

    @Method
    async def cancel(self, round_id: str) -> Round:
        return await self._connection.act(Round, f"/v1/rounds/{round_id}/cancel")

    @Method
    async def get(self, round_id: str) -> Round:
        return await self._connection.get(Round, f"/v1/rounds/{round_id}")

    def list(self) -> Listing[Mode, Round]:
        return Listing(self._connection, "/v1/rounds", ListPage[Round])

    @Method
    async def outcome(self, round_id: str) -> Outcome:
        """What a settled round found: the operator sees every group's line, a group its own."""
        return await self._connection.get(Outcome, f"/v1/rounds/{round_id}/outcome")

    @Method
    async def certificate(self, round_id: str) -> Certificate:
        """What a false report gains at most, and what that rests on."""
        return await self._connection.get(Certificate, f"/v1/rounds/{round_id}/certificate")

    @Method
    async def download_pool(
        self, round_id: str, file: Path | str, on_progress: OnDownload | None = None
    ) -> Path:
        """Put the pool of a settled round into `file`, checked against the outcome's digest.

        A download that broke off goes on from where it was. Raises DamagedDownload, and Unreachable
        if the service stays away.
        """
        outcome = await self._connection.get(Outcome, f"/v1/rounds/{round_id}/outcome")
        url, target = f"/v1/rounds/{round_id}/pool", Path(file)
        await fetch_blob(self._connection, url, outcome.pool_digest, target, on_progress)
        return target

    @Method
    async def put_report(self, round_id: str, report: ReportPut) -> Report:
        """Submit or replace the report of the key's group."""
        return await self._connection.put(Report, f"/v1/rounds/{round_id}/report", report)

    @Method
    async def get_report(self, round_id: str) -> Report:
        return await self._connection.get(Report, f"/v1/rounds/{round_id}/report")

    @Method
    async def unseal_reports(self, round_id: str, reason: str) -> UnsealedReports:
        """All reports of a closed round; the act and the reason go to the audit log."""
        body = UnsealRequest(reason=reason)
        return await self._connection.act(
            UnsealedReports, f"/v1/rounds/{round_id}/reports/unseal", body
        )

    @Method
    async def delete_report(self, round_id: str) -> ReportDeleted:
        return await self._connection.delete(ReportDeleted, f"/v1/rounds/{round_id}/report")
