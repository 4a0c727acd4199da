"""From a problem document to the named error that the service raised."""

from api_schemas.errors import (
    BadReport,
    Conflict,
    Forbidden,
    InvalidInput,
    NotAuthenticated,
    NotFound,
    Problem,
    QuotaExceeded,
    RateLimited,
    RoundFailed,
    StorageFull,
    TooLarge,
    TruthtuneError,
)

_BY_CODE: dict[str, type[TruthtuneError]] = {
    BadReport.code: BadReport,
    RoundFailed.code: RoundFailed,
    QuotaExceeded.code: QuotaExceeded,
    StorageFull.code: StorageFull,
}
_BY_STATUS: dict[int, type[TruthtuneError]] = {
    kind.status: kind
    for kind in (
        NotAuthenticated,
        Forbidden,
        NotFound,
        Conflict,
        TooLarge,
        InvalidInput,
        RateLimited,
    )
}


class Unreachable(TruthtuneError):
    """No answer came: no connection, or it broke off."""

    code = "unreachable"


class RequestFailed(TruthtuneError):
    """An answer for which there is no error of its own; `status` is the response's."""


class JobFailed(TruthtuneError):
    """A job that was waited for failed or was cancelled; `code` is the failure's own."""

    code = "job_failed"


def error_of(status: int, body: bytes) -> TruthtuneError:
    """The error of a response. Something between here and the service may not speak JSON."""
    try:
        problem = Problem.model_validate_json(body, extra="ignore")
    except ValueError:
        return _failed(status, f"the answer was HTTP {status} without an explanation", "unknown")
    kind = _BY_CODE.get(problem.code) or _BY_STATUS.get(status)
    if kind is None:
        return _failed(status, problem.detail, problem.code, problem.param)
    return kind(problem.detail, code=problem.code, param=problem.param)


def _failed(status: int, message: str, code: str, param: str | None = None) -> RequestFailed:
    error = RequestFailed(message, code=code, param=param)
    error.status = status
    return error
