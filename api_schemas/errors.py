"""One tree of errors and one JSON shape (RFC 9457), shared by API, workers and client."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema


class OpenAIError(Schema):
    """An error as OpenAI's clients read it."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    code: str
    param: str | None


class Problem(Schema):
    """The body of every error response, `application/problem+json` (RFC 9457 plus four fields)."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.PROBLEM]})

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What was wrong, with the value, and what to do.")
    code: str = Field(description="A stable name of the error, for programs.")
    param: str | None = Field(None, description="The request field at fault, as a path.")
    request_id: str | None = None
    error: OpenAIError | None = Field(
        None,
        exclude_if=lambda error: error is None,
        description="The same once more, on the routes that OpenAI's clients ask.",
    )


class TruthtuneError(Exception):
    """Base of every error the project raises on purpose.

    `code` names the error for programs, `param` the field at fault, `status` is its HTTP status.
    Survives pickling, because errors cross Ray.
    """

    status = 500
    code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None):
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.message, self.code, self.param)


def _rebuild(kind: type[TruthtuneError], message: str, code: str, param: str | None) -> Any:
    return kind(message, code=code, param=param)


class InvalidInput(TruthtuneError):
    """The request, a file or a report says something that can't be accepted (422)."""

    status = 422
    code = "invalid_input"


class NotAuthenticated(TruthtuneError):
    """No valid API key came with the request (401)."""

    status = 401
    code = "not_authenticated"


class Forbidden(TruthtuneError):
    """The key is valid, its scope is not (403). Another tenant's things are NotFound instead."""

    status = 403
    code = "forbidden"


class NotFound(TruthtuneError):
    """There is no such thing, or it is another tenant's (404): the two are not told apart."""

    status = 404
    code = "not_found"


class Conflict(TruthtuneError):
    """The state of the thing forbids this, and asking again won't help (409, don't retry)."""

    status = 409
    code = "conflict"


class TooLarge(TruthtuneError):
    """A body or a file beyond the announced limit (413)."""

    status = 413
    code = "too_large"


class RateLimited(TruthtuneError):
    """Too many requests for now (429); the answer's `Retry-After` says when to ask again."""

    status = 429
    code = "rate_limited"


class QuotaExceeded(TruthtuneError):
    """As much as one owner may have is there (429); waiting alone does not help."""

    status = 429
    code = "quota_exceeded"


class StorageFull(TruthtuneError):
    """The artifact store's disk has no room left (507); asking again helps once there is."""

    status = 507
    code = "storage_full"


class Unavailable(TruthtuneError):
    """A part of the service is away or has no room (503); asking again in a moment may help."""

    status = 503
    code = "unavailable"


class ClusterUnfit(Unavailable):
    """The Ray cluster is away, or lacks what a job needs (503); a later attempt may find it."""

    code = "cluster_unreachable"


class EndpointUnavailable(ClusterUnfit):
    """An endpoint gives a group's judge no reply for now (503); a later attempt may get one."""

    code = "endpoint_unavailable"


class LanguageModelFailed(TruthtuneError):
    """A teacher, generator or judge gave no usable reply (502); a later attempt may go on."""

    status = 502
    code = "language_model_failed"


class BudgetExhausted(TruthtuneError):
    """What language models may take is used up (402); with a larger budget the run goes on."""

    status = 402
    code = "budget_exhausted"


class BadReport(TruthtuneError):
    """A report's reward model fails on the pool; its group is excluded, or the round fails."""

    status = 422
    code = "bad_report"


class RoundFailed(TruthtuneError):
    """The round can't be settled (every group excluded, a policy says fail, an empty pool)."""

    status = 409
    code = "round_failed"
