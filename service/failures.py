"""Failures that nobody raised on purpose, by the part that failed: a name for programs, and a
sentence that tells an operator what to do."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

from sqlalchemy.exc import InterfaceError, OperationalError

from api_schemas.errors import ClusterUnfit, StorageFull
from workers.artifacts import is_full

_DISK_FULL = "53100"
"""PostgreSQL's SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html)."""
_RAY = "ray.exceptions"
_RAY_OUT_OF_MEMORY = "OutOfMemoryError"
_RAY_OUT_OF_DISK = "OutOfDiskError"
_RAY_TASK = "RayTaskError"


@dataclass(frozen=True)
class Failure:
    """What a job is said to have failed of, and the HTTP status of a request that did."""

    code: str
    message: str
    status: HTTPStatus


STORAGE_FULL = Failure(
    "storage_full",
    "the disk of the database, of the artifact store or of a worker is full: make room "
    "(`truthtune artifacts collect` removes what nothing names any more)",
    HTTPStatus.INSUFFICIENT_STORAGE,
)
DATABASE_UNAVAILABLE = Failure(
    "database_unavailable",
    "the database can't be reached, or did not take a write in time",
    HTTPStatus.SERVICE_UNAVAILABLE,
)
OUT_OF_MEMORY = Failure(
    "out_of_memory",
    "a process needed more memory than there is",
    HTTPStatus.INTERNAL_SERVER_ERROR,
)
WORKER_DIED = Failure(
    "worker_died",
    "processes or machines of the Ray cluster died, or can't be reached",
    HTTPStatus.INTERNAL_SERVER_ERROR,
)
INTERNAL_ERROR = Failure(
    "internal_error",
    "the service failed; the log has the reason",
    HTTPStatus.INTERNAL_SERVER_ERROR,
)


def name_failure(error: BaseException) -> Failure:
    """By what is nearest to the cause: a worker that died of a full disk is a full disk."""
    causes = list(_causes(error))
    for unfit in (cause for cause in causes if isinstance(cause, ClusterUnfit)):
        return Failure(unfit.code, unfit.message, HTTPStatus.SERVICE_UNAVAILABLE)
    if any(map(_is_storage_full, causes)):
        return STORAGE_FULL
    if any(map(_is_out_of_memory, causes)):
        return OUT_OF_MEMORY
    if any(map(_is_database_away, causes)):
        return DATABASE_UNAVAILABLE
    if any(map(_is_of_the_cluster, causes)):
        return WORKER_DIED
    return INTERNAL_ERROR


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it wraps: as Python chains, as Ray and as SQLAlchemy do."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        wrapped = (each.__cause__, getattr(each, "cause", None), getattr(each, "orig", None))
        waiting += [inner for inner in wrapped if isinstance(inner, BaseException)]


def _is_storage_full(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return error.sqlite_errorcode == sqlite3.SQLITE_FULL
    return (
        isinstance(error, StorageFull)
        or is_full(error)
        or getattr(error, "sqlstate", None) == _DISK_FULL
        or _ray_name(error) == _RAY_OUT_OF_DISK
    )


def _is_database_away(error: BaseException) -> bool:
    """SQLite calls what is wrong with a statement operational, too: asking again won't help."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code != sqlite3.SQLITE_ERROR


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or _ray_name(error) == _RAY_OUT_OF_MEMORY


def _is_of_the_cluster(error: BaseException) -> bool:
    """Any error of Ray's own: what tasks raised comes as a RayTaskError."""
    return _ray_name(error) not in (None, _RAY_TASK)


def _ray_name(error: BaseException) -> str | None:
    """By name, since only the coordinator's process may load Ray."""
    names = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == _RAY]
    if _RAY_TASK in names:  # a task's error is of the task's own class too
        return _RAY_TASK
    return names[0] if names else None
