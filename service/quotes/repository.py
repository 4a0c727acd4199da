"""SQL of quotes. Only the operator's routes lead here."""

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from api_schemas.base import ListPage
from api_schemas.errors import NotFound
from api_schemas.jobs import QuoteJobInput
from api_schemas.quotes import Quote, QuoteResult
from service.auth import Principal
from service.database import database_now
from service.pages import PageQuery, fetch_rows, to_page
from service.rounds import repository as rounds
from service.tables import JobRow, QuoteRow


def add_quote(session: Session, job_id: str, job: QuoteJobInput) -> Quote:
    row = QuoteRow(
        id=job.quote_id,
        round_id=job.round_id,
        job_id=job_id,
        settings=job.settings.model_dump(mode="json"),
        created_at=database_now(session),
    )
    session.add(row)
    session.flush()
    return _quote(session, row, with_result=True)


def add_result(session: Session, quote_id: str, result: QuoteResult) -> None:
    session.get_one(QuoteRow, quote_id).result = result.model_dump(mode="json")


def list_quotes(
    session: Session, principal: Principal, round_id: str, page: PageQuery
) -> ListPage[Quote]:
    """Newest first, without results. Raises NotFound for an unknown round."""
    rounds.get_round(session, principal, round_id)
    of_round = select(QuoteRow).where(QuoteRow.round_id == round_id)
    rows, has_more = fetch_rows(
        session, of_round.options(defer(QuoteRow.result)), page, id_column=QuoteRow.id
    )
    return to_page([_quote(session, row, with_result=False) for row in rows], has_more)


def get_quote(session: Session, quote_id: str) -> Quote:
    row = session.get(QuoteRow, quote_id)
    if row is None:
        raise NotFound(f"there is no quote {quote_id}")
    return _quote(session, row, with_result=True)


def _quote(session: Session, row: QuoteRow, *, with_result: bool) -> Quote:
    return Quote.model_validate(
        {
            "id": row.id,
            "round_id": row.round_id,
            "job_id": row.job_id,
            "status": session.get_one(JobRow, row.job_id).status,
            "settings": row.settings,
            "result": row.result if with_result else None,
            "created_at": row.created_at,
        }
    )
