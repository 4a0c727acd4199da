"""Base models that are made on the service, for rounds to start from."""

from pathlib import Path

from api_schemas.base import ListPage
from api_schemas.errors import NotFound
from api_schemas.fine_tuned_models import (
    BaseModelCreate,
    BaseModelResult,
    FineTunedBaseModel,
    SftCheckpoint,
)
from client.downloads import OnDownload, fetch_blob
from client.http import Connection
from client.job_progress import OnProgress
from client.jobs import OnEvent, succeeded
from client.modes import Method, Mode, Resource
from client.pages import Listing
from client.products import result_of


class BaseModels(Resource[Mode]):
    @Method
    async def create(
        self, settings: BaseModelCreate, *, idempotency_key: str | None = None
    ) -> FineTunedBaseModel:
        """Queue a fine-tuning; `wait` for it, then a round may announce its id as `base_model`."""
        return await self._connection.create(
            FineTunedBaseModel, "/v1/base-models", settings, idempotency_key
        )

    @Method
    async def get(self, base_model_id: str) -> FineTunedBaseModel:
        return await _base_model(self._connection, base_model_id)

    def list(self) -> Listing[Mode, FineTunedBaseModel]:
        return Listing(self._connection, "/v1/base-models", ListPage[FineTunedBaseModel])

    @Method
    async def wait(
        self,
        base_model_id: str,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
    ) -> FineTunedBaseModel:
        """Wait until it is made, and tell of its job meanwhile as `jobs.wait` does.

        Raises JobFailed, with the job's reason, if it never will be.
        """
        queued = await _base_model(self._connection, base_model_id)
        await succeeded(self._connection, queued.job_id, on_event, on_progress)
        return await _base_model(self._connection, base_model_id)

    @Method
    async def plot(self, base_model_id: str) -> bytes:
        """Training and held-out loss by step, as SVG."""
        return await self._connection.content(f"/v1/base-models/{base_model_id}/plot")

    @Method
    async def download_checkpoint(
        self,
        base_model_id: str,
        folder: Path | str,
        step: int | None = None,
        on_progress: OnDownload | None = None,
    ) -> Path:
        """Put the adapter as it stood after `step` steps into `folder`, in PEFT's format, each file
        checked against its sha256; without a step, that of the best one.

        A download that broke off goes on from where it was. Raises Conflict until the base model
        is made, NotFound for another step, DamagedDownload, and Unreachable.
        """
        found = await _base_model(self._connection, base_model_id)
        checkpoint = _checkpoint(base_model_id, result_of("base model", found), step)
        target = Path(folder)
        files = {
            "adapter_model.safetensors": checkpoint.adapter_sha256,
            "adapter_config.json": checkpoint.config_sha256,
        }
        for name, digest in files.items():
            url = f"/v1/base-models/{base_model_id}/checkpoints/{checkpoint.step}/{name}"
            await fetch_blob(self._connection, url, digest, target / name, on_progress)
        return target


async def _base_model(connection: Connection, base_model_id: str) -> FineTunedBaseModel:
    return await connection.get(FineTunedBaseModel, f"/v1/base-models/{base_model_id}")


def _checkpoint(base_model_id: str, result: BaseModelResult, step: int | None) -> SftCheckpoint:
    wanted = result.best_step if step is None else step
    for checkpoint in result.checkpoints:
        if checkpoint.step == wanted:
            return checkpoint
    kept = ", ".join(str(each.step) for each in result.checkpoints)
    raise NotFound(
        f"base model {base_model_id} has no checkpoint of step {wanted}; kept are {kept}",
        param="step",
    )
