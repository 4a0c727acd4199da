"""The route of the audit log."""

from typing import Annotated

from fastapi import Query

from api_schemas.audit_log import AuditLogEntry
from api_schemas.base import ListPage
from service.audit_log import repository
from service.auth import Operator
from service.dependencies import ReadSession
from service.pages import Page
from service.routing import Router

router = Router(prefix="/audit-log", tags=["audit log"])

Subject = Annotated[
    str | None,
    Query(pattern=r"^[a-z]+_[0-9a-z]{26}$", description="Entries about this id alone."),
]
Action = Annotated[
    str | None,
    Query(pattern=r"^[a-z_]+\.[a-z_]+$", description="Entries of this action alone."),
]


@router.get("", summary="Read the audit log")
def list_audit_log(
    principal: Operator,
    session: ReadSession,
    page: Page,
    subject: Subject = None,
    action: Action = None,
) -> ListPage[AuditLogEntry]:
    """Who did what, newest first. Entries are never changed or removed. What a group does with its
    reports, files and reward models is not in it: that would tell of them before a round closes.
    Operator only."""
    return repository.list_entries(session, page, subject, action)
