"""Reward models made ahead of a round, and best-of-n with them. They are their owner's alone."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from api_schemas.base import ListPage
from api_schemas.jobs import Job, JobEvent
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
from client.jobs import Jobs
from client.pages import Listing
from client.peft_folders import read_peft_folder
from client.problems import JobFailed
from client.resources import Files, Resource

OnEvent = Callable[[JobEvent], None] | None


@dataclass(frozen=True)
class BestOfN:
    """The response that scores highest, and how far best-of-n is from its model, in nats."""

    response: str
    score: float
    kl_bound: float


class RewardModels(Resource):
    def create(
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
        return self._connection.create(RewardModel, "/v1/reward-models", body, idempotency_key)

    def get(self, reward_model_id: str) -> RewardModel:
        return self._connection.get(RewardModel, f"/v1/reward-models/{reward_model_id}")

    def list(self) -> Listing[RewardModel]:
        return Listing(self._connection, "/v1/reward-models", ListPage[RewardModel])

    def wait(self, reward_model_id: str, on_event: OnEvent = None) -> RewardModel:
        """Block until it is ready; each event of its job goes to `on_event`.

        Raises JobFailed, with the job's reason, if it never will be.
        """
        self._finish(self.get(reward_model_id).job_id, on_event)
        return self.get(reward_model_id)

    def report_card(self, reward_model_id: str) -> bytes:
        """The report card on one page, as SVG."""
        path = f"/v1/reward-models/{reward_model_id}/report_card.svg"
        return self._connection.send("GET", path).content

    def content(self, reward_model_id: str) -> bytes:
        """The fitted model: a line of JSON, then the method's own bytes, JSON or safetensors.

        Raises DamagedDownload unless it is what the record names.
        """
        path = f"/v1/reward-models/{reward_model_id}/content"
        data = self._connection.send("GET", path).content
        expected = self.get(reward_model_id).digest
        if (found := f"sha256:{hashlib.sha256(data).hexdigest()}") != expected:
            raise DamagedDownload(f"{path} came with {found}, expected was {expected}")
        return data

    def adapter_spec(
        self, folder: Path | str, base_model: str | None = None, max_tokens: int = 1024
    ) -> AdapterSpec:
        """Upload the adapter of a PEFT folder; what to name it by in `create` or a report.

        `base_model` is the service's name of the base; by default the one in the folder's
        `adapter_config.json`. Raises InvalidInput for what the service can't take.
        """
        found = read_peft_folder(folder)
        file = Files(self._connection).upload(found.weights, "adapter")
        return AdapterSpec(
            type="adapter",
            file_id=file.id,
            base_model=base_model or found.base_model,
            lora_alpha=found.lora_alpha,
            use_rslora=found.use_rslora,
            max_tokens=max_tokens,
        )

    def rerank(
        self,
        reward_model_id: str,
        items: Sequence[Candidates],
        *,
        idempotency_key: str | None = None,
    ) -> Reranking:
        """Queue a reranking of each prompt's responses; `wait_for_reranking` gives the order."""
        path = f"/v1/reward-models/{reward_model_id}/rerankings"
        body = RerankingCreate(items=list(items))
        return self._connection.create(Reranking, path, body, idempotency_key)

    def get_reranking(self, reranking_id: str) -> Reranking:
        return self._connection.get(Reranking, f"/v1/rerankings/{reranking_id}")

    def list_rerankings(self, reward_model_id: str) -> Listing[Reranking]:
        """Newest first, without their results."""
        path = f"/v1/reward-models/{reward_model_id}/rerankings"
        return Listing(self._connection, path, ListPage[Reranking])

    def wait_for_reranking(self, reranking_id: str, on_event: OnEvent = None) -> Reranking:
        """Block until it has its result. Raises JobFailed, with the reason, if it never will."""
        self._finish(self.get_reranking(reranking_id).job_id, on_event)
        return self.get_reranking(reranking_id)

    def best_of_n(self, reward_model_id: str, prompt: str, responses: Sequence[str]) -> BestOfN:
        """Rerank one prompt's responses and wait for the best."""
        item = Candidates(prompt=prompt, responses=list(responses))
        done = self.wait_for_reranking(self.rerank(reward_model_id, [item]).id)
        assert done.result is not None, "a reranking that succeeded has its result"
        (ranked,) = done.result
        best = ranked.order[0]
        return BestOfN(responses[best], ranked.scores[best], ranked.kl_bound)

    def _finish(self, job_id: str, on_event: OnEvent) -> Job:
        job = Jobs(self._connection).wait(job_id, on_event)
        if job.status != "succeeded":
            reason = f": {job.error.message}" if job.error else ""
            code = job.error.code if job.error else None
            raise JobFailed(f"job {job.id} {job.status}{reason}", code=code)
        return job
