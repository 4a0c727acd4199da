"""One base model on Ray Serve, with several adapters, writing several answers in turns."""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from ray import serve

from api_schemas.errors import TruthtuneError
from workers import base_models, own_base_models
from workers.artifacts import ArtifactStore
from workers.base_models import BaseModel
from workers.ray_runner import use_cores
from workers.serving.adapters import Adapter, Adapters
from workers.serving.generation import Generation
from workers.serving.requests import End, Failure, GenerationRequest, ServedBase, Text

ADAPTERS = 8
"""Loaded at once; the one unused longest makes room. Of SmolLM2 one of rank 16 takes 20 MB."""

Result = TypeVar("Result")


class Replica:
    """Holds one base model, loaded by the first request, so that a failure has its name.

    All that touches the model runs in one thread, whose queue is first in, first out: answers that
    are written at the same time get one token each in turns, each with its own adapter.
    """

    def __init__(self, base: ServedBase, artifacts_url: str, threads: int):
        self._named, self._artifacts = base, ArtifactStore(artifacts_url)
        self._thread = ThreadPoolExecutor(1, "model", use_cores, (threads,))
        self._loaded: tuple[BaseModel, Adapters] | None = None

    async def generate(self, request: GenerationRequest) -> AsyncIterator[Text | End | Failure]:
        """The answer's events. Ends early, between two tokens, when nobody reads on."""
        try:
            async for event in self._events(request):
                yield event
        except TruthtuneError as error:
            yield Failure.of(error)

    async def _events(self, request: GenerationRequest) -> AsyncIterator[Text | End]:
        base, adapters = await self._in_turn(self._base)
        # Held here while it is used: what the multiplexer drops must not be removed before.
        adapter = await self._adapter(request.model.adapter) if request.model.adapter else None

        activate = partial(adapters.activate, adapter)
        generation = await self._in_turn(partial(Generation, base, activate, request))
        while generation.end is None:
            if piece := await self._in_turn(generation.step):
                yield Text(text=piece)
        yield generation.end

    @serve.multiplexed(  # type: ignore[untyped-decorator]
        max_num_models_per_replica=ADAPTERS
    )
    async def _adapter(self, digest: str) -> Adapter:
        _, adapters = await self._in_turn(self._base)
        adapter = await self._in_turn(partial(adapters.load, digest))
        # Once neither the multiplexer nor an answer holds it.
        weakref.finalize(adapter, self._thread.submit, adapters.remove, adapter.name).atexit = False
        return adapter

    def _base(self) -> tuple[BaseModel, Adapters]:
        if self._loaded is None:
            own_base_models.fetch_from(self._artifacts)
            device = str(base_models.default_device())
            base = base_models.load(self._named.name, self._named.revision, device)
            self._loaded = base, Adapters(base, self._artifacts)
        return self._loaded

    async def _in_turn(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def deployment(resources: dict[str, Any], answers: int) -> Any:
    """The replica as a deployment that writes so many answers at once."""
    return serve.deployment(
        name="model",
        num_replicas=1,
        max_ongoing_requests=answers,
        ray_actor_options=resources,
        graceful_shutdown_timeout_s=1,
    )(Replica)
