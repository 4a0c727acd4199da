"""SQL of what the operator's own jobs make: corpora, base models, evaluations.

Each has a name, the settings that it was asked for with, a job, and a result once that succeeded.
Only routes that have checked who asks lead here.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.errors import Conflict, NotFound
from service.auth import OPERATOR
from service.database import database_now
from service.pages import PageQuery, fetch_rows
from service.tables import CorpusRow, EvaluationRow, FineTunedBaseModelRow, JobRow

Product = TypeVar("Product", CorpusRow, FineTunedBaseModelRow, EvaluationRow)

NOUNS: dict[type[Any], str] = {
    CorpusRow: "corpus",
    FineTunedBaseModelRow: "base model",
    EvaluationRow: "evaluation",
}


def add(
    session: Session, table: type[Product], id_: str, job_id: str, name: str, settings: BaseModel
) -> Product:
    row = table(
        id=id_,
        name=name,
        job_id=job_id,
        settings=settings.model_dump(mode="json"),
        created_at=database_now(session),
    )
    session.add(row)
    session.flush()
    return row


def find(session: Session, table: type[Product], id_: str, param: str | None = None) -> Product:
    """Raises NotFound (`param`)."""
    row = session.get(table, id_)
    if row is None:
        raise NotFound(f"there is no {NOUNS[table]} {id_}", param=param)
    return row


def find_made(
    session: Session, table: type[Product], id_: str, param: str | None = None
) -> Product:
    """As `find`. Raises Conflict (`param`) until its job has succeeded."""
    row = find(session, table, id_, param)
    if row.result is None:
        noun = NOUNS[table]
        status = session.get_one(JobRow, row.job_id).status
        raise Conflict(
            f"{noun} {id_} is not ready: its job {row.job_id} is {status}",
            code=f"{noun.replace(' ', '_')}_not_ready",
            param=param,
        )
    return row


def newest(
    session: Session, table: type[Product], page: PageQuery
) -> tuple[Sequence[Product], bool]:
    """A page of them, and whether more follow."""
    return fetch_rows(session, select(table), page, id_column=table.id)


def add_result(session: Session, table: type[Product], id_: str, result: BaseModel) -> None:
    session.get_one(table, id_).result = result.model_dump(mode="json")


def fields(session: Session, rows: Sequence[Product]) -> list[dict[str, Any]]:
    """What the schemas of all three share, with the status of each one's job."""
    of_jobs = select(JobRow.id, JobRow.status)
    of_jobs = of_jobs.where(JobRow.id.in_([row.job_id for row in rows]))
    statuses = dict(session.execute(of_jobs).all())
    return [
        {
            "id": row.id,
            "name": row.name,
            "job_id": row.job_id,
            "status": statuses[row.job_id],
            "settings": row.settings,
            "result": row.result,
            "created_at": row.created_at,
        }
        for row in rows
    ]


def unfinished(session: Session, table: type[Product], owner_id: str) -> Sequence[Product]:
    """Those that have no result, and may yet be made; all are the operator's."""
    if owner_id != OPERATOR:
        return []
    return session.scalars(select(table).where(table.result.is_(None))).all()
