"""The stage `publish`: what a job that isn't a round's own found becomes visible."""

import hashlib
from collections.abc import Callable, Mapping

import structlog

from api_schemas.audits import Audited
from api_schemas.corpora import CorpusResult
from api_schemas.evaluations import EvaluationResult
from api_schemas.fine_tuned_models import BaseModelResult
from api_schemas.jobs import (
    BaseModelJobInput,
    CorpusJobInput,
    EvaluationJobInput,
    JobKind,
    StageName,
)
from api_schemas.quotes import QuoteResult
from api_schemas.reward_models import FittedResult, RerankedResult
from service.audits.publishing import publish as publish_audit
from service.database import Database
from service.jobs import leases, products
from service.previews.publishing import publish_preview
from service.quotes.publishing import publish_quote
from service.reward_models.publishing import publish_reranking, publish_reward_model
from service.tables import CorpusRow, EvaluationRow, FineTunedBaseModelRow
from workers.artifacts import ArtifactStore
from workers.language_models.call_book import CallBook
from workers.own_base_models import files_of

log = structlog.get_logger()

_CHUNK_BYTES = 1 << 20
_Publisher = Callable[[Database, ArtifactStore, leases.Claim, str], None]


def publish(
    database: Database,
    artifacts: ArtifactStore,
    held: leases.Claim,
    digests: Mapping[StageName, str],
) -> None:
    """Write the result that the job's last stage left, all of it or nothing, and end the job.

    Every artifact that the result names is read before: it is there, and whole. Raises LeaseLost or
    CancelRequested if the job is no longer to be published.
    """
    stage, publisher = _PUBLISHERS[held.job.kind]
    publisher(database, artifacts, held, digests[stage])


def _publish_audit(
    database: Database, artifacts: ArtifactStore, held: leases.Claim, digest: str
) -> None:
    audited = Audited.model_validate(artifacts.get_json(digest))
    artifacts.get(audited.plot_sha256)
    result_digest = artifacts.put_json(audited.result.model_dump(mode="json"))
    with database.write() as session:
        publish_audit(session, held, audited, result_digest)


def _publish_reward_model(
    database: Database, artifacts: ArtifactStore, held: leases.Claim, digest: str
) -> None:
    fitted = FittedResult.model_validate(artifacts.get_json(digest))
    for named in (fitted.model, fitted.plot_sha256):
        if named is not None:
            artifacts.get(named)
    with database.write() as session:
        publish_reward_model(session, held, fitted)


def _publish_reranking(
    database: Database, artifacts: ArtifactStore, held: leases.Claim, digest: str
) -> None:
    reranked = RerankedResult.model_validate(artifacts.get_json(digest))
    with database.write() as session:
        publish_reranking(session, held, reranked, digest)


def _publish_quote(
    database: Database, artifacts: ArtifactStore, held: leases.Claim, digest: str
) -> None:
    result = QuoteResult.model_validate(artifacts.get_json(digest))
    with database.write() as session:
        publish_quote(session, held, result, digest)


def _publish_preview(
    database: Database, artifacts: ArtifactStore, held: leases.Claim, digest: str
) -> None:
    """It is sealed: what it holds only its group's key shows."""
    sealed = artifacts.get(digest)
    with database.write() as session:
        publish_preview(session, held, sealed, digest)


def _publish_corpus(
    database: Database, artifacts: ArtifactStore, held: leases.Claim, digest: str
) -> None:
    assert isinstance(held.job, CorpusJobInput)
    result = CorpusResult.model_validate(artifacts.get_json(digest))
    named = (result.lines_sha256, result.holdout_sha256, result.calls_sha256)
    for each in (*named, result.optimization, result.plot_sha256):
        if each is not None:
            _require_whole(artifacts, each)
    with database.write() as session, leases.settling(session, held, "publish", digest):
        products.add_result(session, CorpusRow, held.job.corpus_id, result)
    _forget_calls(artifacts, held.job.corpus_id)


def _publish_base_model(
    database: Database, artifacts: ArtifactStore, held: leases.Claim, digest: str
) -> None:
    assert isinstance(held.job, BaseModelJobInput)
    result = BaseModelResult.model_validate(artifacts.get_json(digest))
    for each in files_of(artifacts, result.revision).values():
        _require_whole(artifacts, each)
    for checkpoint in result.checkpoints:
        _require_whole(artifacts, checkpoint.adapter_sha256)
        _require_whole(artifacts, checkpoint.config_sha256)
    _require_whole(artifacts, result.plot_sha256)
    with database.write() as session, leases.settling(session, held, "publish", digest):
        products.add_result(session, FineTunedBaseModelRow, held.job.base_model_id, result)


def _publish_evaluation(
    database: Database, artifacts: ArtifactStore, held: leases.Claim, digest: str
) -> None:
    assert isinstance(held.job, EvaluationJobInput)
    result = EvaluationResult.model_validate(artifacts.get_json(digest))
    _require_whole(artifacts, result.answers_sha256)
    _require_whole(artifacts, result.calls_sha256)
    with database.write() as session, leases.settling(session, held, "publish", digest):
        products.add_result(session, EvaluationRow, held.job.evaluation_id, result)
    _forget_calls(artifacts, held.job.evaluation_id)


def _forget_calls(artifacts: ArtifactStore, book_id: str) -> None:
    """They are an artifact now; a folder that can't be removed is only room lost."""
    try:
        CallBook(artifacts, book_id).forget()
    except OSError:
        log.warning("recorded_calls_not_removed", book_id=book_id, exc_info=True)


def _require_whole(artifacts: ArtifactStore, digest: str) -> None:
    """As `artifacts.get` raises, without the bytes in memory: a model's may be many gigabytes."""
    found = hashlib.sha256()
    with artifacts.open(digest) as blob:
        while chunk := blob.read(_CHUNK_BYTES):
            found.update(chunk)
    if f"sha256:{found.hexdigest()}" != digest:
        raise OSError(f"artifact {digest} is damaged: its bytes hash to {found.hexdigest()}")


_PUBLISHERS: Mapping[JobKind, tuple[StageName, _Publisher]] = {
    "audit": ("retrain", _publish_audit),
    "reward_model": ("fit_reward_model", _publish_reward_model),
    "reranking": ("rerank", _publish_reranking),
    "quote": ("calibrate", _publish_quote),
    "preview": ("preview", _publish_preview),
    "corpus": ("write_answers", _publish_corpus),
    "base_model": ("fine_tune", _publish_base_model),
    "evaluation": ("evaluate", _publish_evaluation),
}
"""By kind of job: the stage that leaves its result, and what makes that visible."""
