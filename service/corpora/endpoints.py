"""Routes of corpora."""

from fastapi import Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.corpora import Corpus, CorpusCreate, CorpusResult, CorpusResume, PromptHistory
from api_schemas.errors import NotFound
from api_schemas.ids import CorpusId
from service import audit, quotas
from service.auth import Operator
from service.bodies import StrictRoute
from service.corpora import repository, requesting
from service.corpora.requesting import Checked
from service.dependencies import AppState, ReadSession, State, WriteSession
from service.downloads import (
    DRAWING_RESPONSES,
    JSON_LINES_RESPONSES,
    drawing_response,
    lines_response,
)
from service.errors import problem_responses
from service.idempotency import Idempotent
from service.pages import Page
from service.routing import Router

router = Router(prefix="/corpora", tags=["corpora"], route_class=StrictRoute)
_LINES = JSON_LINES_RESPONSES | problem_responses(404, 409, 416)


@router.post("", status_code=201, summary="Make a corpus", responses=problem_responses(404, 409))
def create_corpus(
    principal: Operator, body: CorpusCreate, job: Checked, idempotent: Idempotent, state: State
) -> Corpus:
    """Queues a job that writes questions on the documents, finds the prompt that they are answered
    best under, if asked to, and has a teacher answer them. Operator only."""
    session = idempotent.session

    def work() -> Corpus:
        quotas.require_job(session, state.settings, principal.owner_id)
        made = requesting.request_corpus(session, principal, job)
        audit.record(session, principal, "corpus.created", made.id)
        return made

    return idempotent.run(body.model_dump(mode="json"), Corpus, work)


@router.get("", summary="List the corpora")
def list_corpora(principal: Operator, session: ReadSession, page: Page) -> ListPage[Corpus]:
    """Corpora, newest first. Operator only."""
    return repository.list_corpora(session, page)


@router.get("/{corpus_id}", summary="Show a corpus", responses=problem_responses(404))
def get_corpus(corpus_id: CorpusId, principal: Operator, session: ReadSession) -> Corpus:
    """A corpus, what it has spent so far and, once its job has succeeded, what it holds.
    Operator only."""
    return repository.get_corpus(session, corpus_id)


@router.post(
    "/{corpus_id}/resume", summary="Resume a corpus", responses=problem_responses(404, 409)
)
def resume_corpus(
    corpus_id: CorpusId,
    principal: Operator,
    body: CorpusResume,
    session: WriteSession,
    state: State,
) -> Corpus:
    """Queues the job of a corpus that failed or was cancelled again, with another budget; what was
    bought is kept. The budget counts from the corpus's beginning. Operator only."""
    resumed = requesting.resume(session, state.settings, principal, corpus_id, body.budget)
    audit.record(session, principal, "corpus.resumed", corpus_id)
    return resumed


@router.get(
    "/{corpus_id}/lines",
    summary="Download a corpus",
    response_class=Response,
    responses=_LINES,
)
def get_corpus_lines(
    corpus_id: CorpusId, request: Request, principal: Operator, state: State
) -> Response:
    """The lines to train on: JSON lines of `question`, `answer` and where they come from. A
    Conflict until the corpus's job has succeeded. Operator only."""
    digest = _result(state, corpus_id).lines_sha256
    return lines_response(request, state.artifacts, digest, f"{corpus_id}.jsonl")


@router.get(
    "/{corpus_id}/holdout",
    summary="Download what a corpus holds out",
    response_class=Response,
    responses=_LINES,
)
def get_corpus_holdout(
    corpus_id: CorpusId, request: Request, principal: Operator, state: State
) -> Response:
    """The lines of the paragraphs that are held out, in the same form. Operator only."""
    digest = _result(state, corpus_id).holdout_sha256
    return lines_response(request, state.artifacts, digest, f"{corpus_id}-holdout.jsonl")


@router.get(
    "/{corpus_id}/calls",
    summary="Download a corpus's calls",
    response_class=Response,
    responses=_LINES,
)
def get_corpus_calls(
    corpus_id: CorpusId, request: Request, principal: Operator, state: State
) -> Response:
    """Every call of a language model with its reply, as JSON lines: what `replay_of` replays.
    Operator only."""
    digest = _result(state, corpus_id).calls_sha256
    return lines_response(request, state.artifacts, digest, f"{corpus_id}-calls.jsonl")


@router.get(
    "/{corpus_id}/history",
    summary="Show a prompt optimisation",
    responses=problem_responses(404, 409),
)
def get_prompt_history(corpus_id: CorpusId, principal: Operator, state: State) -> PromptHistory:
    """Every candidate prompt, with its score, every judged answer and the judge's reasons; 404 if
    no prompt was optimised. Operator only."""
    digest = _optimized(corpus_id, _result(state, corpus_id).optimization)
    return PromptHistory.model_validate(state.artifacts.get_json(digest))


@router.get(
    "/{corpus_id}/plot",
    summary="Draw a prompt optimisation",
    response_class=Response,
    responses=DRAWING_RESPONSES | problem_responses(404, 409, 416),
)
def get_prompt_plot(
    corpus_id: CorpusId, request: Request, principal: Operator, state: State
) -> Response:
    """The candidates' scores by iteration, as SVG; 404 if no prompt was optimised.
    Operator only."""
    digest = _optimized(corpus_id, _result(state, corpus_id).plot_sha256)
    return drawing_response(request, state.artifacts, digest, f"{corpus_id}.svg")


def _result(state: AppState, corpus_id: str) -> CorpusResult:
    with state.database.read() as session:
        return repository.get_result(session, corpus_id)


def _optimized(corpus_id: str, digest: str | None) -> str:
    if digest is None:
        raise NotFound(f"corpus {corpus_id} was made without a prompt_optimization")
    return digest
