"""SQL of corpora. Only the operator's routes lead here."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from api_schemas.base import ListPage
from api_schemas.corpora import Corpus, CorpusResult
from api_schemas.jobs import CorpusJobInput
from service.jobs import events, products
from service.pages import PageQuery, to_page
from service.tables import CorpusRow, JobRow


def add_corpus(session: Session, job_id: str, job: CorpusJobInput) -> Corpus:
    settings = job.settings
    row = products.add(session, CorpusRow, job.corpus_id, job_id, settings.name, settings)
    return _corpora(session, [row])[0]


def list_corpora(session: Session, page: PageQuery) -> ListPage[Corpus]:
    """Newest first."""
    rows, has_more = products.newest(session, CorpusRow, page)
    return to_page(_corpora(session, rows), has_more)


def get_corpus(session: Session, corpus_id: str) -> Corpus:
    return _corpora(session, [products.find(session, CorpusRow, corpus_id)])[0]


def get_result(session: Session, corpus_id: str, param: str | None = None) -> CorpusResult:
    """Raises NotFound, and Conflict until the corpus's job has succeeded (`param`)."""
    row = products.find_made(session, CorpusRow, corpus_id, param)
    return CorpusResult.model_validate(row.result)


def get_job_input(session: Session, corpus_id: str) -> CorpusJobInput:
    row = products.find(session, CorpusRow, corpus_id)
    return CorpusJobInput.model_validate(session.get_one(JobRow, row.job_id).input)


def _corpora(session: Session, rows: Sequence[CorpusRow]) -> list[Corpus]:
    told = events.latest_spent(session, [row.job_id for row in rows if row.result is None])
    return [
        Corpus.model_validate(
            {**fields, "spent": row.result["spent"] if row.result else told.get(row.job_id)}
        )
        for row, fields in zip(rows, products.fields(session, rows), strict=True)
    ]
