"""Every failure as one JSON shape: RFC 9457 problem documents."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api_schemas.errors import (
    OpenAIError,
    Problem,
    QuotaExceeded,
    RateLimited,
    StorageFull,
    TruthtuneError,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"
_PROBLEMS_SHOWN = 5
_VALUE_SHOWN = 100
_OPENAI_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/models")
RETRY_SECONDS = 5
"""What a client is asked to wait for a disk or a database."""


class _ProblemResponse(JSONResponse):
    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """As JSON's own escapes where UTF-8 ends: a refused name may be a lone surrogate."""
        return json.dumps(content, ensure_ascii=False).encode(errors="backslashreplace")


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may fail with these statuses, for the API's document."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def problem_response(
    request_id: str | None,
    status: int,
    detail: str,
    code: str,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
    for_openai: bool = False,
) -> JSONResponse:
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        param=param,
        request_id=request_id,
        error=openai_error(status, detail, code, param) if for_openai else None,
    )
    return _ProblemResponse(problem.model_dump(), status, headers)


def openai_error(status: int, message: str, code: str, param: str | None) -> OpenAIError:
    kind: Literal["server_error", "invalid_request_error"] = (
        "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    )
    return OpenAIError(message=message, type=kind, code=code, param=param)


def is_for_openai(request: Request) -> bool:
    """Whether OpenAI's clients ask this; they show no other message than that of `error`."""
    return request.url.path.startswith(_OPENAI_PATHS)


def install(app: FastAPI) -> None:
    app.add_exception_handler(TruthtuneError, _truthtune_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


def request_id_of(request: Request) -> str | None:
    return getattr(request.state, "request_id", None)


async def _truthtune_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TruthtuneError)
    headers = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status == HTTPStatus.CONFLICT:
        # Client libraries retry a 409 unless they are told that it stays one.
        headers["x-should-retry"] = "false"
    if isinstance(error, QuotaExceeded):
        headers["x-should-retry"] = "false"
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(request.state.retry_after)
    if isinstance(error, StorageFull | Unavailable):
        headers["Retry-After"] = str(RETRY_SECONDS)
    return problem_response(
        request_id_of(request),
        error.status,
        error.message,
        error.code,
        error.param,
        headers,
        for_openai=is_for_openai(request),
    )


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    details = error.errors()
    problems = [_sentence(detail, error.body) for detail in details[:_PROBLEMS_SHOWN]]
    if len(details) > _PROBLEMS_SHOWN:
        problems.append(f"and {len(details) - _PROBLEMS_SHOWN} more")
    return problem_response(
        request_id_of(request),
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "; ".join(problems),
        "invalid_input",
        _path(details[0]["loc"], error.body) or None,
        for_openai=is_for_openai(request),
    )


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    """What the router itself refuses: an unknown path, a method the path does not have."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = error.detail
    if status == HTTPStatus.NOT_FOUND:
        detail = f"there is nothing at {request.url.path}"
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.url.path} does not answer {request.method}"
    return problem_response(
        request_id_of(request),
        status,
        detail,
        status.name.lower(),
        headers=error.headers,
        for_openai=is_for_openai(request),
    )


def _sentence(detail: Mapping[str, Any], body: Any) -> str:
    if detail["type"] == "json_invalid":
        return f"the request's body: {detail['ctx']['error']}"
    where = _path(detail["loc"], body) or "the request"
    message = f"{where}: {detail['msg'].removeprefix('Value error, ')}"
    value = detail.get("input")
    if isinstance(value, str | int | float | bool):
        shown = repr(value)
        message += f", not {shown[:_VALUE_SHOWN]}{'…' if len(shown) > _VALUE_SHOWN else ''}"
    return message


def _path(location: tuple[str | int, ...], body: Any) -> str:
    """`("body", "reward_model", "lexical", "features", 0)` → `reward_model.features[0]`.

    Pydantic names the chosen member of a union too (`lexical`), which no field is called.
    """
    source, *segments = location
    if isinstance(body, str):  # not JSON: there are no fields
        return ""
    value = body if source == "body" else None
    path = ""
    for position, segment in enumerate(segments):
        last = position == len(segments) - 1
        if isinstance(segment, int):
            path += f"[{segment}]"
            value = value[segment] if isinstance(value, list) and segment < len(value) else None
        elif _is_a_members_name(segment, value, last):
            continue
        else:
            path += f".{segment}" if path else segment
            value = value.get(segment) if isinstance(value, dict) else None
    return path


def _is_a_members_name(segment: str, value: Any, last: bool) -> bool:
    """Whether pydantic names the member of a union, and not a field of `value`."""
    if isinstance(value, dict):
        return segment not in value and not last
    return isinstance(value, str | int | float | list)
