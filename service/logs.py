"""Structured logs, and the id that ties a response to its lines."""

import random
import time

import structlog
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_schemas.ids import new_id
from service.errors import RETRY_SECONDS, problem_response
from service.failures import DATABASE_UNAVAILABLE, STORAGE_FULL, name_failure
from service.log_lines import configure as configure

log = structlog.get_logger()


class RequestLog:
    """Gives each request an id and a log line, and answers for whatever nobody caught.

    The path is logged without its query; headers and bodies are not: they hold keys and reports.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # Nobody gains by guessing it, and to ask the system for bits lets another thread run first.
        request_id = new_id("req", random.getrandbits)
        scope.setdefault("state", {})["request_id"] = request_id
        line = log.bind(request_id=request_id, method=scope["method"], path=scope["path"])
        started = time.perf_counter()
        status: int | None = None

        async def identified(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, identified)
        except Exception as error:
            line.exception("request_failed")
            if status is not None:  # the response is under way: only breaking off can tell
                raise
            response = _failure_response(request_id, error)
            await response(scope, receive, identified)
        line.info("request", status=status, seconds=round(time.perf_counter() - started, 4))


def _failure_response(request_id: str, error: Exception) -> JSONResponse:
    """Of a full disk or a database that is away the client learns that it may ask again."""
    failure = name_failure(error)
    temporary = failure in (STORAGE_FULL, DATABASE_UNAVAILABLE)
    reason = failure.message if temporary else "the service failed"
    return problem_response(
        request_id,
        failure.status if temporary else 500,
        f"{reason}; the log has the details under {request_id}",
        failure.code if temporary else "internal_error",
        headers={"Retry-After": str(RETRY_SECONDS)} if temporary else None,
    )
