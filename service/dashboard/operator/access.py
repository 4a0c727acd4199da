"""Forms that are shown only to whom the API would take them from; it
decides again when they come."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends

from api_schemas.errors import Problem
from service.dashboard.api import Refused
from service.dashboard.sessions import Session, SignedIn


def _require_writing_operator(session: SignedIn) -> Session:
    if session.is_operator and session.may_write:
        return session
    lacking = "may only read" if session.is_operator else "belongs to a group"
    raise Refused(
        Problem(
            title=HTTPStatus.FORBIDDEN.phrase,
            status=HTTPStatus.FORBIDDEN,
            detail=f"this form needs a key of the operator that may write; yours {lacking}",
            code="forbidden",
        )
    )


WritingOperator = Annotated[Session, Depends(_require_writing_operator)]
