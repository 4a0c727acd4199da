"""The stage `publish`: what a job that isn't a round's own found becomes visible."""

from collections.abc import Mapping

from api_schemas.audits import Audited
from api_schemas.jobs import StageName
from api_schemas.quotes import QuoteResult
from api_schemas.reward_models import FittedResult, RerankedResult
from service.audits.publishing import publish as publish_audit
from service.database import Database
from service.jobs import leases
from service.previews.publishing import publish_preview
from service.quotes.publishing import publish_quote
from service.reward_models.publishing import publish_reranking, publish_reward_model
from workers.artifacts import ArtifactStore


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
    if held.job.kind == "audit":
        _publish_audit(database, artifacts, held, digests["retrain"])
    elif held.job.kind == "reward_model":
        _publish_reward_model(database, artifacts, held, digests["fit_reward_model"])
    elif held.job.kind == "reranking":
        _publish_reranking(database, artifacts, held, digests["rerank"])
    elif held.job.kind == "quote":
        _publish_quote(database, artifacts, held, digests["calibrate"])
    else:
        _publish_preview(database, artifacts, held, digests["preview"])


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
