"""Reward models made ahead of a round, and best-of-n with them. They are their owner's alone."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from api_schemas.base import ListPage
from api_schemas.reward_models import (
    AdapterSpec,
    Candidates,
    NewRewardModel,
    Reranking,
    RerankingCreate,
    RewardModel,
    RewardModelCreate,
)
from client.downloads import DamagedDownload
from client.files import uploaded
from client.http import Connection
from client.job_progress import OnProgress
from client.jobs import OnEvent, succeeded
from client.modes import Method, Mode, Resource
from client.pages import Listing
from client.peft_folders import read_peft_folder


@dataclass(frozen=True)
class BestOfN:
    """The response that scores highest, and how far best-of-n is from its model, in nats."""

    response: str
    score: float
    kl_bound: float


class RewardModels(Resource[Mode]):
    @Method
    async def create(
        self,
        name: str,
        reward_model: NewRewardModel,
        evaluation_file_id: str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> RewardModel:
        """Queue the fit of a reward model; `wait` for it, then a report may name it."""
        body = RewardModelCreate(
            name=name, reward_model=reward_model, evaluation_file_id=evaluation_file_id
        )
        return await self._connection.create(
            RewardModel, "/v1/reward-models", body, idempotency_key
        )

    @Method
    async def get(self, reward_model_id: str) -> RewardModel:
        return await _reward_model(self._connection, reward_model_id)

    def list(self) -> Listing[Mode, RewardModel]:
        return Listing(self._connection, "/v1/reward-models", ListPage[RewardModel])

    @Method
    async def wait(
        self,
        reward_model_id: str,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
    ) -> RewardModel:
        """Wait until it is ready, and tell of its job meanwhile as `jobs.wait` does.

        Raises JobFailed, with the job's reason, if it never will be.
        """
        found = await _reward_model(self._connection, reward_model_id)
        await succeeded(self._connection, found.job_id, on_event, on_progress)
        return await _reward_model(self._connection, reward_model_id)

    @Method
    async def report_card(self, reward_model_id: str) -> bytes:
        """The report card on one page, as SVG."""
        path = f"/v1/reward-models/{reward_model_id}/report_card.svg"
        return await self._connection.content(path)

    @Method
    async def content(self, reward_model_id: str) -> bytes:
        """The fitted model: a line of JSON, then the method's own bytes, JSON or safetensors.

        Raises DamagedDownload unless it is what the record names.
        """
        path = f"/v1/reward-models/{reward_model_id}/content"
        data = await self._connection.content(path)
        expected = (await _reward_model(self._connection, reward_model_id)).digest
        if (found := f"sha256:{hashlib.sha256(data).hexdigest()}") != expected:
            raise DamagedDownload(f"{path} came with {found}, expected was {expected}")
        return data

    @Method
    async def adapter_spec(
        self, folder: Path | str, base_model: str | None = None, max_tokens: int = 1024
    ) -> AdapterSpec:
        """Upload the adapter of a PEFT folder; what to name it by in `create` or a report.

        `base_model` is the service's name of the base; by default the one in the folder's
        `adapter_config.json`. Raises InvalidInput for what the service can't take.
        """
        found = read_peft_folder(folder)
        file = await uploaded(self._connection, found.weights, "adapter")
        return AdapterSpec(
            type="adapter",
            file_id=file.id,
            base_model=base_model or found.base_model,
            lora_alpha=found.lora_alpha,
            use_rslora=found.use_rslora,
            max_tokens=max_tokens,
        )

    @Method
    async def rerank(
        self,
        reward_model_id: str,
        items: Sequence[Candidates],
        *,
        idempotency_key: str | None = None,
    ) -> Reranking:
        """Queue a reranking of each prompt's responses; `wait_for_reranking` gives the order."""
        return await _rerank(self._connection, reward_model_id, items, idempotency_key)

    @Method
    async def get_reranking(self, reranking_id: str) -> Reranking:
        return await _reranking(self._connection, reranking_id)

    def list_rerankings(self, reward_model_id: str) -> Listing[Mode, Reranking]:
        """Newest first, without their results."""
        path = f"/v1/reward-models/{reward_model_id}/rerankings"
        return Listing(self._connection, path, ListPage[Reranking])

    @Method
    async def wait_for_reranking(
        self,
        reranking_id: str,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
    ) -> Reranking:
        """Wait until it has its result. Raises JobFailed, with the reason, if it never will."""
        queued = await _reranking(self._connection, reranking_id)
        await succeeded(self._connection, queued.job_id, on_event, on_progress)
        return await _reranking(self._connection, reranking_id)

    @Method
    async def best_of_n(
        self, reward_model_id: str, prompt: str, responses: Sequence[str]
    ) -> BestOfN:
        """Rerank one prompt's responses and wait for the best."""
        item = Candidates(prompt=prompt, responses=list(responses))
        queued = await _rerank(self._connection, reward_model_id, [item])
        await succeeded(self._connection, queued.job_id)
        done = await _reranking(self._connection, queued.id)
        assert done.result is not None, "a reranking that succeeded has its result"
        (ranked,) = done.result
        best = ranked.order[0]
        return BestOfN(responses[best], ranked.scores[best], ranked.kl_bound)


async def _reward_model(connection: Connection, reward_model_id: str) -> RewardModel:
    return await connection.get(RewardModel, f"/v1/reward-models/{reward_model_id}")


async def _reranking(connection: Connection, reranking_id: str) -> Reranking:
    return await connection.get(Reranking, f"/v1/rerankings/{reranking_id}")


async def _rerank(
    connection: Connection,
    reward_model_id: str,
    items: Sequence[Candidates],
    idempotency_key: str | None = None,
) -> Reranking:
    path = f"/v1/reward-models/{reward_model_id}/rerankings"
    body = RerankingCreate(items=list(items))
    return await connection.create(Reranking, path, body, idempotency_key)
