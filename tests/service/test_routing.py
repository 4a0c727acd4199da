"""Routes are found by their noun; endpoints run once, in a thread, within what is around them."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Annotated

import httpx
import pytest
from anyio import CapacityLimiter
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from service.routing import Router, run_endpoint_within


def _served(*routers: Router) -> TestClient:
    app = FastAPI()
    for router in routers:
        app.include_router(router, prefix="/v1")
    return TestClient(app, raise_server_exceptions=False)


def test_a_router_is_asked_for_its_own_nouns_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    jobs, rounds = Router(prefix="/jobs"), Router()
    for router, path in ((jobs, "/{job_id}"), (rounds, "/rounds"), (rounds, "/round-lists/{name}")):
        router.get(path)(lambda: "found")
    for router, name in ((jobs, "jobs"), (rounds, "rounds")):
        route = router.routes[0]
        matches = route.matches
        monkeypatch.setattr(
            route, "matches", lambda scope, name=name, on=matches: asked.append(name) or on(scope)
        )
    client = _served(jobs, rounds)
    assert client.get("/v1/jobs/1").status_code == 200
    assert set(asked) == {"jobs"}
    asked.clear()
    assert [client.get(f"/v1/{path}").status_code for path in ("rounds", "round-lists/a")] == [
        200
    ] * 2
    assert set(asked) == {"rounds"}
    asked.clear()
    assert [client.get(path).status_code for path in ("/v1", "/v1/", "/v1/none/1", "/")] == [
        404
    ] * 4
    assert asked == []


def test_an_endpoint_runs_outside_the_event_loop_and_within_what_is_around_it() -> None:
    order: list[str] = []
    threads: set[int] = set()

    @contextmanager
    def around() -> Iterator[None]:
        threads.add(threading.get_ident())
        order.append("begun")
        try:
            yield
            order.append("committed")
        except ValueError:
            order.append("rolled back")
            raise

    async def held() -> None:
        threads.add(-threading.get_ident())  # the event loop's
        run_endpoint_within(around(), CapacityLimiter(1))

    router = Router(prefix="/deeds")

    @router.post("/{fails}")
    def deed(fails: bool, _held: Annotated[None, Depends(held)]) -> str:
        threads.add(threading.get_ident())
        order.append("done")
        if fails:
            raise ValueError
        return "done"

    @router.get("")
    def look() -> str:
        order.append("looked")
        return "looked"

    client = _served(router)
    assert client.post("/v1/deeds/false").json() == "done"
    assert order == ["begun", "done", "committed"]
    (loop,) = (-ident for ident in threads if ident < 0)
    assert loop not in threads
    order.clear()
    assert client.post("/v1/deeds/true").status_code == 500
    assert client.get("/v1/deeds").json() == "looked"
    assert order == ["begun", "done", "rolled back", "looked"]


def test_as_many_run_at_once_as_there_are_turns_and_the_rest_wait_without_a_thread() -> None:
    turns, running, most = CapacityLimiter(2), [], []
    router = Router(prefix="/deeds")

    async def held() -> None:
        run_endpoint_within(nullcontext(), turns)

    @router.get("/slow")
    def slow(_held: Annotated[None, Depends(held)]) -> str:
        running.append(threading.get_ident())
        most.append(len(running))
        time.sleep(0.02)
        running.pop()
        return "done"

    with _served(router) as client, ThreadPoolExecutor(8) as people:
        answers = list(people.map(lambda _: client.get("/v1/deeds/slow").json(), range(24)))
    assert answers == ["done"] * 24
    assert max(most) == 2


def test_what_one_request_runs_within_is_not_that_of_the_next_in_the_same_task() -> None:
    begun: list[str] = []
    router = Router(prefix="/deeds")

    @contextmanager
    def around() -> Iterator[None]:
        begun.append("begun")
        yield

    async def held() -> None:
        run_endpoint_within(around(), CapacityLimiter(1))

    @router.post("")
    def deed(_held: Annotated[None, Depends(held)]) -> str:
        return "done"

    @router.get("")
    def look() -> str:
        return "looked"

    app = FastAPI()
    app.include_router(router, prefix="/v1")

    async def ask() -> list[str]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return [
                (await client.request(method, "/v1/deeds")).json() for method in ("POST", "GET")
            ]

    assert asyncio.run(ask()) == ["done", "looked"]
    assert begun == ["begun"]
