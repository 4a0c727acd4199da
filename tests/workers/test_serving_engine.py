"""Which base model is in memory, how many answers are written, and when all of it is let go."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from api_schemas.errors import Unavailable
from workers.serving.engine import Engine
from workers.serving.requests import End, Failure, GenerationRequest, ServedBase, Text

END = End(finish_reason="stop", prompt_tokens=1, completion_tokens=1)
FIRST, SECOND = (ServedBase(name=n, revision=f"sha256:{n * 64}") for n in "ab")


class FakeBackend:
    """Notes what it is told; its answers are written once `go` is set."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.go = asyncio.Event()
        self.fails = False

    def start(self) -> None:
        self.log.append("start")

    def stop(self) -> None:
        self.log.append("stop")

    def deploy(self, name: str, base: ServedBase) -> Any:
        self.log.append(f"deploy {base.name}")
        return base.name

    def delete(self, name: str) -> None:
        self.log.append("delete")

    async def generate(
        self, handle: Any, request: GenerationRequest
    ) -> AsyncGenerator[Text | End | Failure, None]:
        try:
            yield Text(text=handle)
            await self.go.wait()
            if self.fails:
                raise RuntimeError("the machine is gone")
            yield END
        finally:
            self.log.append("ended")


def request(base: ServedBase = FIRST, owner: str = "ants") -> GenerationRequest:
    return GenerationRequest.model_validate(
        {
            "model": {"base": base.model_dump(), "adapter": None},
            "owner_id": owner,
            "prompt": "red",
            "max_tokens": 1,
            "may_shorten": False,
            "temperature": 0,
            "top_p": 1,
            "seed": None,
            "stop": [],
        }
    )


async def whole(engine: Engine, asked: GenerationRequest) -> list[Text | End | Failure]:
    return [event async for event in engine.generate(asked)]


async def begun(engine: Engine, asked: GenerationRequest) -> AsyncGenerator[Any, None]:
    """An answer of which one piece was read."""
    answer = engine.generate(asked)
    await anext(answer)
    return answer


def run(
    test: Callable[[Engine, FakeBackend], Any], places: int = 4, clock: Any = lambda: 0.0
) -> None:
    async def scene() -> None:
        backend = FakeBackend()
        await test(Engine(lambda: backend, places, clock), backend)

    asyncio.run(scene())


def test_nothing_is_started_before_the_first_request_and_then_once() -> None:
    async def test(engine: Engine, backend: FakeBackend) -> None:
        backend.go.set()
        assert backend.log == []
        assert await whole(engine, request()) == [Text(text="a"), END]
        await asyncio.gather(whole(engine, request()), whole(engine, request(owner="bees")))
        assert [line for line in backend.log if line != "ended"] == ["start", "deploy a"]

    run(test)


def test_another_base_model_takes_the_place_of_the_one_before() -> None:
    async def test(engine: Engine, backend: FakeBackend) -> None:
        backend.go.set()
        await whole(engine, request(FIRST))
        assert await whole(engine, request(SECOND)) == [Text(text="b"), END]
        assert backend.log[2:] == ["ended", "delete", "deploy b", "ended"]

    run(test)


def test_a_base_model_is_kept_while_an_answer_is_written_with_it() -> None:
    async def test(engine: Engine, backend: FakeBackend) -> None:
        answer = await begun(engine, request(FIRST))
        with pytest.raises(Unavailable, match="'a' are being written"):
            await whole(engine, request(SECOND, owner="bees"))
        backend.go.set()
        assert [event async for event in answer] == [END]
        assert await whole(engine, request(SECOND, owner="bees")) == [Text(text="b"), END]

    run(test)


def test_no_owner_has_more_than_half_of_the_places_and_all_together_no_more_than_all() -> None:
    async def test(engine: Engine, backend: FakeBackend) -> None:
        answers = [await begun(engine, request(owner="ants")) for _ in range(2)]
        with pytest.raises(Unavailable, match="2 of your answers"):
            await begun(engine, request(owner="ants"))
        answers += [await begun(engine, request(owner=owner)) for owner in ("bees", "cats")]
        with pytest.raises(Unavailable, match="4 answers are being written"):
            await begun(engine, request(owner="dogs"))
        await answers[0].aclose()
        await begun(engine, request(owner="dogs"))

    run(test)


def test_an_answer_that_nobody_reads_on_is_ended() -> None:
    async def test(engine: Engine, backend: FakeBackend) -> None:
        answer = await begun(engine, request())
        await answer.aclose()
        assert backend.log[-1] == "ended"

    run(test)


def test_what_nobody_asked_for_long_is_let_go_and_comes_back() -> None:
    now = 0.0

    async def test(engine: Engine, backend: FakeBackend) -> None:
        nonlocal now
        answer = await begun(engine, request())
        now = 1000.0
        assert not await engine.end_idle(600)  # an answer is being written
        backend.go.set()
        assert [event async for event in answer] == [END]
        now = 1599.0
        assert not await engine.end_idle(600)
        now = 1600.0
        assert await engine.end_idle(600)
        assert backend.log[-2:] == ["ended", "stop"]
        assert not await engine.end_idle(600)  # there is nothing left to end
        assert await whole(engine, request()) == [Text(text="a"), END]

    run(test, clock=lambda: now)


def test_after_a_failure_that_has_no_name_all_is_started_anew() -> None:
    async def test(engine: Engine, backend: FakeBackend) -> None:
        backend.go.set()
        backend.fails = True
        with pytest.raises(RuntimeError, match="gone"):
            await whole(engine, request())
        backend.fails = False
        assert await whole(engine, request()) == [Text(text="a"), END]
        again = ["stop", "start", "deploy a", "ended"]
        assert backend.log == ["start", "deploy a", "ended", *again]

    run(test)
