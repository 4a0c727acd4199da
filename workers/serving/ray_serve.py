"""A thin shell around Ray Serve: applications without HTTP, called by their handles."""

import logging
import os
from collections.abc import AsyncGenerator
from typing import Any

import ray
from ray import serve

from api_schemas.errors import ClusterUnfit
from workers.ray_address import refusal
from workers.serving.replica import deployment
from workers.serving.requests import End, Failure, GenerationRequest, ServedBase, Text

_OBJECT_STORE_BYTES = 100 * 2**20
"""Requests and answers are small; Ray takes no less than 75 MB."""


class RayServe:
    """Applications, one a base model, on the cluster at `ray_address` or on a local Ray.

    The methods without `async` block for seconds. Nothing listens on a port but what Ray needs.
    """

    def __init__(self, artifacts_url: str, ray_address: str | None, answers: int):
        self._artifacts_url, self._ray_address, self._answers = artifacts_url, ray_address, answers
        self._deployed: set[str] = set()

    def start(self) -> None:
        """Raises ClusterUnfit in seconds where nothing listens; Ray would try for minutes."""
        why = refusal(self._ray_address) if self._ray_address else None
        if why is not None:
            raise ClusterUnfit(f"no Ray cluster answers at {self._ray_address}: {why}")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        local: dict[str, Any] = {
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
        ray.init(
            address=self._ray_address or "local",
            logging_level=logging.WARNING,
            log_to_driver=False,
            **({} if self._ray_address else local),
        )
        quiet = {"log_level": "WARNING", "enable_access_log": False}
        serve.start(proxy_location="Disabled", logging_config=quiet)

    def stop(self) -> None:
        """Ends a local Ray and all in it, on a cluster the applications made here."""
        try:
            if self._ray_address:
                for name in tuple(self._deployed):
                    self.delete(name)
        finally:
            ray.shutdown()

    def deploy(self, name: str, base: ServedBase) -> Any:
        """The handle of a new application."""
        resources = _resources()
        threads = int(resources["num_cpus"])
        application = deployment(resources, self._answers).bind(base, self._artifacts_url, threads)
        self._deployed.add(name)
        return serve.run(application, name=name, route_prefix=None)

    def delete(self, name: str) -> None:
        serve.delete(name)
        self._deployed.discard(name)

    async def generate(
        self, handle: Any, request: GenerationRequest
    ) -> AsyncGenerator[Text | End | Failure, None]:
        """The answer's events; closing the iterator ends the generation."""
        options: dict[str, Any] = {"stream": True}
        if request.model.adapter:
            options["multiplexed_model_id"] = request.model.adapter
        response = handle.options(**options).generate.remote(request)
        try:
            async for event in response:
                yield event
        finally:
            response.cancel()


def _resources() -> dict[str, Any]:
    """A GPU where there is one; else half of a node's cores, so that the rest goes on."""
    if ray.cluster_resources().get("GPU", 0) >= 1:
        return {"num_cpus": 1, "num_gpus": 1}
    cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return {"num_cpus": max(1, min(count for count in cpus if count > 0) // 2)}
