"""Evaluations: several models' answers to the same questions. The operator's alone."""

from pathlib import Path

from api_schemas.base import ListPage
from api_schemas.evaluations import (
    Evaluation,
    EvaluationCreate,
    EvaluationResult,
    EvaluationResume,
)
from api_schemas.language_models import Budget
from client.downloads import OnDownload
from client.http import Connection
from client.job_progress import OnProgress
from client.jobs import OnEvent, succeeded
from client.modes import Method, Mode, Resource
from client.pages import Listing
from client.products import download, result_of


class Evaluations(Resource[Mode]):
    @Method
    async def create(
        self, settings: EvaluationCreate, *, idempotency_key: str | None = None
    ) -> Evaluation:
        """Queue an evaluation; `wait` for its table."""
        return await self._connection.create(
            Evaluation, "/v1/evaluations", settings, idempotency_key
        )

    @Method
    async def get(self, evaluation_id: str) -> Evaluation:
        return await _evaluation(self._connection, evaluation_id)

    def list(self) -> Listing[Mode, Evaluation]:
        return Listing(self._connection, "/v1/evaluations", ListPage[Evaluation])

    @Method
    async def resume(self, evaluation_id: str, budget: Budget) -> Evaluation:
        """Queue an evaluation that failed or was cancelled again, with this budget in all."""
        url, body = f"/v1/evaluations/{evaluation_id}/resume", EvaluationResume(budget=budget)
        return await self._connection.act(Evaluation, url, body)

    @Method
    async def wait(
        self,
        evaluation_id: str,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
    ) -> Evaluation:
        """Wait until it has its table, and tell of its job meanwhile as `jobs.wait` does.

        Raises JobFailed, with the job's reason, if it stopped: `resume` may help.
        """
        queued = await _evaluation(self._connection, evaluation_id)
        await succeeded(self._connection, queued.job_id, on_event, on_progress)
        return await _evaluation(self._connection, evaluation_id)

    @Method
    async def download_answers(
        self, evaluation_id: str, file: Path | str, on_progress: OnDownload | None = None
    ) -> Path:
        """Put questions, references and answers into `file`, JSONL, checked against their sha256.

        Raises Conflict until the evaluation has its table, DamagedDownload, and Unreachable.
        """
        digest = (await _result(self._connection, evaluation_id)).answers_sha256
        url = f"/v1/evaluations/{evaluation_id}/answers"
        return await download(self._connection, url, digest, file, on_progress)

    @Method
    async def download_calls(
        self, evaluation_id: str, file: Path | str, on_progress: OnDownload | None = None
    ) -> Path:
        """The same of every call of the judge; empty where none judged."""
        digest = (await _result(self._connection, evaluation_id)).calls_sha256
        url = f"/v1/evaluations/{evaluation_id}/calls"
        return await download(self._connection, url, digest, file, on_progress)


async def _evaluation(connection: Connection, evaluation_id: str) -> Evaluation:
    return await connection.get(Evaluation, f"/v1/evaluations/{evaluation_id}")


async def _result(connection: Connection, evaluation_id: str) -> EvaluationResult:
    return result_of("evaluation", await _evaluation(connection, evaluation_id))
