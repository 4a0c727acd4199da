"""From a request to a corpus that waits for its job, and from one that stopped to its going on."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy.orm import Session

from api_schemas.corpora import Corpus, CorpusCreate
from api_schemas.ids import new_id
from api_schemas.jobs import CorpusJobInput, DocumentInput
from api_schemas.language_models import Budget
from service.auth import Operator, Principal
from service.corpora import repository
from service.corpora.language_models import (
    Named,
    pin_local_models,
    require_endpoints,
    require_prices,
)
from service.dependencies import State
from service.files import repository as files
from service.jobs import queue, resuming
from service.settings import Settings
from service.tables import CorpusRow


def _checked(body: CorpusCreate, principal: Operator, state: State) -> CorpusJobInput:
    """Runs before the write transaction: digesting a model's weights is slow.

    A corpus that is replayed asks no model: the endpoints may be gone, and the local models' calls
    are found under the revisions that they had.
    """
    named = _language_models(body)
    if body.replay_of is None:
        require_endpoints(state, named, body.budget)
    with state.database.read() as session:
        job = _with_stored(session, principal, body)
    revisions = pin_local_models(state, named, job.base_models)
    return job.model_copy(update={"base_models": revisions})


Checked = Annotated[CorpusJobInput, Depends(_checked)]


def request_corpus(session: Session, principal: Principal, job: CorpusJobInput) -> Corpus:
    job_id = queue.enqueue(session, job, principal.owner_id)
    return repository.add_corpus(session, job_id, job)


def resume(
    session: Session, settings: Settings, principal: Principal, corpus_id: str, budget: Budget
) -> Corpus:
    """As `service.jobs.resuming.resume`. Raises InvalidInput as `require_prices` too."""
    resuming.resume(session, settings, principal, CorpusRow, corpus_id, budget)
    corpus = repository.get_corpus(session, corpus_id)
    if corpus.settings.replay_of is None:
        require_prices(settings.endpoint_list, _language_models(corpus.settings), budget)
    return corpus


def _language_models(body: CorpusCreate) -> Named:
    named = {f"generators[{i}]": spec for i, spec in enumerate(body.generators)}
    named["teacher"] = body.teacher
    if body.prompt_optimization is not None:
        named["prompt_optimization.judge"] = body.prompt_optimization.judge
        if body.prompt_optimization.writer is not None:
            named["prompt_optimization.writer"] = body.prompt_optimization.writer
    return named


def _with_stored(session: Session, principal: Principal, body: CorpusCreate) -> CorpusJobInput:
    """The job with the digests of the files; of local models, those that a replay has."""
    documents = [
        files.get_own_file(session, principal, id_, "document", f"document_file_ids[{i}]")
        for i, id_ in enumerate(body.document_file_ids)
    ]
    seeds = pairs = None
    if body.seed_questions_file_id is not None:
        param = "seed_questions_file_id"
        seeds = files.get_own_file(
            session, principal, body.seed_questions_file_id, "questions", param
        ).sha256
    if body.prompt_optimization is not None:
        named, param = body.prompt_optimization.pairs_file_id, "prompt_optimization.pairs_file_id"
        pairs = files.get_own_file(session, principal, named, "question_answers", param).sha256
    calls, revisions = _replayed(session, body)
    return CorpusJobInput(
        corpus_id=new_id("corp"),
        settings=body,
        documents=[
            DocumentInput(file_id=each.id, filename=each.filename, sha256=each.sha256)
            for each in documents
        ],
        seed_questions=seeds,
        pairs=pairs,
        base_models=revisions,
        replay_calls=calls,
    )


def _replayed(session: Session, body: CorpusCreate) -> tuple[str | None, dict[str, str]]:
    """The calls to replay, and the revisions of the local models that made them."""
    if body.replay_of is None:
        return None, {}
    calls = repository.get_result(session, body.replay_of, "replay_of").calls_sha256
    return calls, repository.get_job_input(session, body.replay_of).base_models
