"""Who may have an answer written now, and which base model is in memory for it."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from api_schemas.errors import TruthtuneError, Unavailable
from workers.artifacts import canonical_json, sha256_of
from workers.serving.requests import End, Failure, GenerationRequest, ServedBase, Text

Result = TypeVar("Result")


class Backend(Protocol):
    """Where models are; `workers.serving.ray_serve.RayServe` in production."""

    def start(self) -> None: ...

    def stop(self) -> None:
        """Ends whatever was deployed too."""

    def deploy(self, name: str, base: ServedBase) -> Any: ...

    def delete(self, name: str) -> None: ...

    def generate(
        self, handle: Any, request: GenerationRequest
    ) -> AsyncGenerator[Text | End | Failure, None]: ...


@dataclass
class _Application:
    name: str
    base: ServedBase
    handle: Any


class Engine:
    """Starts its backend at the first request, and ends it when there was none for a while.

    One base model is in memory at a time: a request for another ends the one before, unless an
    answer is being written with it. Of `places` answers at once one owner may have half.
    """

    def __init__(
        self,
        make_backend: Callable[[], Backend],
        places: int,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._make_backend, self._places, self._clock = make_backend, places, clock
        self._backend: Backend | None = None
        self._application: _Application | None = None
        self._thread = ThreadPoolExecutor(1, "serving")
        self._owners: Counter[str] = Counter()
        self._bases: Counter[ServedBase] = Counter()
        self._last_used = clock()
        self._suspect = False

    async def generate(
        self, request: GenerationRequest
    ) -> AsyncGenerator[Text | End | Failure, None]:
        """The answer's events. Raises Unavailable before the first if there is no place."""
        self._take_place(request)
        try:
            backend, handle = await self._in_turn(partial(self._change_to, request.model.base))
            async with aclosing(backend.generate(handle, request)) as events:
                async for event in events:
                    yield event
        except TruthtuneError:
            raise
        except Exception:
            self._suspect = True
            raise
        finally:
            self._leave_place(request)

    async def end_idle(self, seconds: float) -> bool:
        """End everything if nobody asked for so long; whether it was ended."""
        return await self._in_turn(partial(self._end_idle, seconds))

    async def shutdown(self) -> None:
        await self._in_turn(self._end)

    async def _in_turn(self, work: Callable[[], Result]) -> Result:
        """In the one thread that changes what runs: also what is no longer waited for is done."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _take_place(self, request: GenerationRequest) -> None:
        if self._owners.total() >= self._places:
            raise Unavailable(
                f"{self._places} answers are being written already; ask again in a moment",
                code="inference_busy",
            )
        share = -(-self._places // 2)
        if self._owners[request.owner_id] >= share:
            raise Unavailable(
                f"{share} of your answers are being written already, which is half of what there "
                "is room for; ask again in a moment",
                code="inference_busy",
            )
        self._owners[request.owner_id] += 1
        self._bases[request.model.base] += 1

    def _leave_place(self, request: GenerationRequest) -> None:
        self._owners[request.owner_id] -= 1
        self._bases[request.model.base] -= 1
        self._owners, self._bases = +self._owners, +self._bases  # without the zeros
        self._last_used = self._clock()

    def _change_to(self, base: ServedBase) -> tuple[Backend, Any]:
        if self._suspect and self._owners.total() <= 1:  # it may be what failed
            self._end()
        if self._backend is None:
            self._backend = self._started()
        if self._application is not None and self._application.base != base:
            self._require_unused(self._application.base, base)
            application, self._application = self._application, None
            self._backend.delete(application.name)
        if self._application is None:
            digest = sha256_of(canonical_json(base.model_dump()))
            name = f"truthtune-{digest.removeprefix('sha256:')[:16]}"
            self._application = _Application(name, base, self._backend.deploy(name, base))
        return self._backend, self._application.handle

    def _started(self) -> Backend:
        backend = self._make_backend()
        try:
            backend.start()
        except BaseException:
            backend.stop()
            raise
        self._suspect = False
        return backend

    def _require_unused(self, current: ServedBase, wanted: ServedBase) -> None:
        if self._bases[current]:
            raise Unavailable(
                f"answers of {current.name!r} are being written, and one base model is in memory "
                f"at a time; ask again for {wanted.name!r} in a moment",
                code="inference_busy",
            )

    def _end_idle(self, seconds: float) -> bool:
        used = bool(self._owners) or self._clock() - self._last_used < seconds
        if self._backend is None or used:
            return False
        self._end()
        return True

    def _end(self) -> None:
        backend, self._backend, self._application = self._backend, None, None
        if backend is not None:
            backend.stop()
