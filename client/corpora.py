"""Corpora: questions and answers made of documents. The operator's alone."""

from pathlib import Path

from api_schemas.base import ListPage
from api_schemas.corpora import Corpus, CorpusCreate, CorpusResult, CorpusResume, PromptHistory
from api_schemas.language_models import Budget
from client.downloads import OnDownload
from client.http import Connection
from client.job_progress import OnProgress
from client.jobs import OnEvent, succeeded
from client.modes import Method, Mode, Resource
from client.pages import Listing
from client.products import download, result_of


class Corpora(Resource[Mode]):
    @Method
    async def create(self, settings: CorpusCreate, *, idempotency_key: str | None = None) -> Corpus:
        """Queue a corpus; `wait` for it, then its lines can be downloaded, or trained on."""
        return await self._connection.create(Corpus, "/v1/corpora", settings, idempotency_key)

    @Method
    async def get(self, corpus_id: str) -> Corpus:
        return await _corpus(self._connection, corpus_id)

    def list(self) -> Listing[Mode, Corpus]:
        return Listing(self._connection, "/v1/corpora", ListPage[Corpus])

    @Method
    async def resume(self, corpus_id: str, budget: Budget) -> Corpus:
        """Queue a corpus that failed or was cancelled again, with this budget in all."""
        body = CorpusResume(budget=budget)
        return await self._connection.act(Corpus, f"/v1/corpora/{corpus_id}/resume", body)

    @Method
    async def wait(
        self,
        corpus_id: str,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
    ) -> Corpus:
        """Wait until it is made, and tell of its job meanwhile as `jobs.wait` does.

        Raises JobFailed, with the job's reason, if it stopped: `resume` may help.
        """
        queued = await _corpus(self._connection, corpus_id)
        await succeeded(self._connection, queued.job_id, on_event, on_progress)
        return await _corpus(self._connection, corpus_id)

    @Method
    async def history(self, corpus_id: str) -> PromptHistory:
        """Every candidate prompt with its score. Raises NotFound if none was optimised."""
        return await self._connection.get(PromptHistory, f"/v1/corpora/{corpus_id}/history")

    @Method
    async def plot(self, corpus_id: str) -> bytes:
        """The prompts' scores by iteration, as SVG."""
        return await self._connection.content(f"/v1/corpora/{corpus_id}/plot")

    @Method
    async def download_lines(
        self, corpus_id: str, file: Path | str, on_progress: OnDownload | None = None
    ) -> Path:
        """Put the lines to train on into `file`, JSONL, checked against their sha256.

        A download that broke off goes on from where it was. Raises Conflict until the corpus is
        made, DamagedDownload, and Unreachable if the service stays away.
        """
        digest = (await _result(self._connection, corpus_id)).lines_sha256
        url = f"/v1/corpora/{corpus_id}/lines"
        return await download(self._connection, url, digest, file, on_progress)

    @Method
    async def download_holdout(
        self, corpus_id: str, file: Path | str, on_progress: OnDownload | None = None
    ) -> Path:
        """The same of the lines that are held out."""
        digest = (await _result(self._connection, corpus_id)).holdout_sha256
        url = f"/v1/corpora/{corpus_id}/holdout"
        return await download(self._connection, url, digest, file, on_progress)

    @Method
    async def download_calls(
        self, corpus_id: str, file: Path | str, on_progress: OnDownload | None = None
    ) -> Path:
        """The same of every call of a language model with its reply."""
        digest = (await _result(self._connection, corpus_id)).calls_sha256
        url = f"/v1/corpora/{corpus_id}/calls"
        return await download(self._connection, url, digest, file, on_progress)


async def _corpus(connection: Connection, corpus_id: str) -> Corpus:
    return await connection.get(Corpus, f"/v1/corpora/{corpus_id}")


async def _result(connection: Connection, corpus_id: str) -> CorpusResult:
    return result_of("corpus", await _corpus(connection, corpus_id))
