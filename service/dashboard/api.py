"""The service's own API as the pages ask it: in this process, with the session's key.

So a page shows and does what that key may, by the rules that everyone else meets: entitlement,
sealing, limits and the audit log are nowhere written twice.
"""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import httpx
from fastapi import Depends, Request
from pydantic import BaseModel

from api_schemas.errors import Problem
from service.dashboard.sessions import SignedIn, SignInNeeded

Body = TypeVar("Body", bound=BaseModel)


class Refused(Exception):
    """The API's answer was no."""

    def __init__(self, problem: Problem):
        super().__init__(problem.detail)
        self.problem = problem


class Api:
    """Every method raises Refused with the API's problem, and SignInNeeded if the key is bad."""

    def __init__(self, http: httpx.AsyncClient):
        self._http = http

    async def get(self, kind: type[Body], path: str, **params: Any) -> Body:
        given = {name: value for name, value in params.items() if value is not None}
        return kind.model_validate_json(await self.send("GET", path, params=given))

    async def post(
        self,
        kind: type[Body],
        path: str,
        body: BaseModel | dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Body:
        """A page's form carries the key, so that a second click makes nothing twice."""
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        json = body.model_dump(mode="json") if isinstance(body, BaseModel) else body
        return kind.model_validate_json(await self.send("POST", path, json=json, headers=headers))

    async def put(self, kind: type[Body], path: str, body: dict[str, Any]) -> Body:
        return kind.model_validate_json(await self.send("PUT", path, json=body))

    async def delete(self, kind: type[Body], path: str) -> Body:
        return kind.model_validate_json(await self.send("DELETE", path))

    async def send(self, method: str, path: str, **arguments: Any) -> bytes:
        """The body of a good answer."""
        require_own_path(path)
        response = await self._http.request(method, path, **arguments)
        if response.is_success:
            return response.content
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            raise SignInNeeded(Problem.model_validate_json(response.content).detail)
        raise Refused(Problem.model_validate_json(response.content))


def require_own_path(path: str) -> None:
    """Raises Refused (404) for an id in the browser's address that would ask for another path."""
    if "?" in path or "#" in path or {".", ".."} & set(path.split("/")):
        raise Refused(
            Problem(
                title=HTTPStatus.NOT_FOUND.phrase,
                status=HTTPStatus.NOT_FOUND,
                detail=f"there is nothing at {path}",
                code="not_found",
            )
        )


def client_of(request: Request, secret: str) -> httpx.AsyncClient:
    """Asks as the browser's address, by which failed sign-ins are counted."""
    address = (request.client.host, request.client.port) if request.client else ("127.0.0.1", 0)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=request.app, client=address),
        base_url=str(request.base_url),
        headers={"Authorization": f"Bearer {secret}"},
    )


async def _api(request: Request, session: SignedIn) -> AsyncIterator[Api]:
    async with client_of(request, session.secret) as http:
        yield Api(http)


SessionApi = Annotated[Api, Depends(_api)]
