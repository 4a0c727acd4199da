"""Groups, keys, the audit log, files, and rounds with their reports."""

from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from api_schemas.audit_log import AuditLogEntry
from api_schemas.base import ListPage
from api_schemas.certificates import Certificate
from api_schemas.errors import InvalidInput
from api_schemas.files import File, FileDeleted, FilePurpose
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
from client.downloads import fetch_blob
from client.http import Connection
from client.pages import Listing


class Resource:
    """A namespace of the client."""

    def __init__(self, connection: Connection):
        self._connection = connection


class Groups(Resource):
    def create(self, name: str, *, idempotency_key: str | None = None) -> Group:
        body = GroupCreate(name=name)
        return self._connection.create(Group, "/v1/groups", body, idempotency_key)

    def get(self, group_id: str) -> Group:
        return self._connection.get(Group, f"/v1/groups/{group_id}")

    def list(self) -> Listing[Group]:
        return Listing(self._connection, "/v1/groups", ListPage[Group])

    def create_key(
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
        return self._connection.act(KeyWithSecret, "/v1/keys", body)


class Keys(Resource):
    def create_operator(
        self, name: str = "", *, access: Access = "full", expires_at: datetime | None = None
    ) -> KeyWithSecret:
        body = KeyCreate(scope="operator", name=name, access=access, expires_at=expires_at)
        return self._connection.act(KeyWithSecret, "/v1/keys", body)

    def rotate(
        self,
        key_id: str,
        *,
        grace_seconds: int = DEFAULT_GRACE_SECONDS,
        expires_at: datetime | None = None,
    ) -> KeyWithSecret:
        """The key's successor; its secret is shown this once. The key itself works on for
        `grace_seconds`. A group rotates the key that it asks with."""
        body = KeyRotate(grace_seconds=grace_seconds, expires_at=expires_at)
        return self._connection.act(KeyWithSecret, f"/v1/keys/{key_id}/rotate", body)

    def get(self, key_id: str) -> Key:
        return self._connection.get(Key, f"/v1/keys/{key_id}")

    def list(self) -> Listing[Key]:
        return Listing(self._connection, "/v1/keys", ListPage[Key])

    def revoke(self, key_id: str) -> Key:
        return self._connection.delete(Key, f"/v1/keys/{key_id}")


class AuditLog(Resource):
    """Operator only."""

    def list(
        self, *, subject: str | None = None, action: str | None = None
    ) -> Listing[AuditLogEntry]:
        """Who did what, newest first; about one id, or of one action, if these are given."""
        given = {"subject": subject, "action": action}
        filters = {name: value for name, value in given.items() if value is not None}
        return Listing(self._connection, "/v1/audit-log", ListPage[AuditLogEntry], filters)


class Files(Resource):
    def upload(
        self, file: Path | str, purpose: FilePurpose, *, idempotency_key: str | None = None
    ) -> File:
        """Send a file from disk; it is read as it is sent, never held in memory whole.

        Raises InvalidInput (`file`) if it can't be read here, or for a bad line in it.
        """
        path = Path(file)
        try:
            stream = path.open("rb")
        except OSError as error:
            raise InvalidInput(f"{path} can't be read: {error.strerror}", param="file") from error
        with stream:
            return self.upload_stream(stream, path.name, purpose, idempotency_key=idempotency_key)

    def upload_stream(
        self,
        stream: BinaryIO,
        filename: str,
        purpose: FilePurpose,
        *,
        idempotency_key: str | None = None,
    ) -> File:
        """Like `upload`; the stream must be seekable, because a retry reads it from its start."""
        return self._connection.create(
            File,
            "/v1/files",
            idempotency_key=idempotency_key,
            data={"purpose": purpose},
            files={"file": (filename, stream)},
        )

    def get(self, file_id: str) -> File:
        return self._connection.get(File, f"/v1/files/{file_id}")

    def list(self) -> Listing[File]:
        return Listing(self._connection, "/v1/files", ListPage[File])

    def delete(self, file_id: str) -> FileDeleted:
        """Raises Conflict while something may need the file."""
        return self._connection.delete(FileDeleted, f"/v1/files/{file_id}")

    def content(self, file_id: str) -> bytes:
        return self._connection.send("GET", f"/v1/files/{file_id}/content").content


class Rounds(Resource):
    def create(self, announcement: RoundCreate, *, idempotency_key: str | None = None) -> Round:
        """Announce a round; it is a draft until `open`."""
        return self._connection.create(Round, "/v1/rounds", announcement, idempotency_key)

    def open(self, round_id: str) -> Round:
        return self._connection.act(Round, f"/v1/rounds/{round_id}/open")

    def close(self, round_id: str) -> Round:
        """End the reports and queue the job; the round's `job_id` names it."""
        return self._connection.act(Round, f"/v1/rounds/{round_id}/close")

    def cancel(self, round_id: str) -> Round:
        return self._connection.act(Round, f"/v1/rounds/{round_id}/cancel")

    def get(self, round_id: str) -> Round:
        return self._connection.get(Round, f"/v1/rounds/{round_id}")

    def list(self) -> Listing[Round]:
        return Listing(self._connection, "/v1/rounds", ListPage[Round])

    def outcome(self, round_id: str) -> Outcome:
        """What a settled round found: the operator sees every group's line, a group its own."""
        return self._connection.get(Outcome, f"/v1/rounds/{round_id}/outcome")

    def certificate(self, round_id: str) -> Certificate:
        """What a false report gains at most, and what that rests on."""
        return self._connection.get(Certificate, f"/v1/rounds/{round_id}/certificate")

    def download_pool(self, round_id: str, file: Path | str) -> Path:
        """Put the pool of a settled round into `file`, checked against the outcome's digest.

        A download that broke off goes on from where it was. Raises DamagedDownload, and Unreachable
        if the service stays away.
        """
        digest = self.outcome(round_id).pool_digest
        target = Path(file)
        fetch_blob(self._connection, f"/v1/rounds/{round_id}/pool", digest, target)
        return target

    def put_report(self, round_id: str, report: ReportPut) -> Report:
        """Submit or replace the report of the key's group."""
        return self._connection.put(Report, f"/v1/rounds/{round_id}/report", report)

    def get_report(self, round_id: str) -> Report:
        return self._connection.get(Report, f"/v1/rounds/{round_id}/report")

    def unseal_reports(self, round_id: str, reason: str) -> UnsealedReports:
        """All reports of a closed round; the act and the reason go to the audit log."""
        body = UnsealRequest(reason=reason)
        return self._connection.act(UnsealedReports, f"/v1/rounds/{round_id}/reports/unseal", body)

    def delete_report(self, round_id: str) -> ReportDeleted:
        return self._connection.delete(ReportDeleted, f"/v1/rounds/{round_id}/report")
