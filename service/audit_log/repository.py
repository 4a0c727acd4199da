"""SQL that reads the audit log, for the operator alone."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.audit_log import AuditLogEntry
from api_schemas.base import ListPage
from service.pages import PageQuery, fetch_page
from service.tables import AuditRow


def list_entries(
    session: Session, page: PageQuery, subject: str | None, action: str | None
) -> ListPage[AuditLogEntry]:
    """Newest first; of one subject or one action where these are given."""
    entries = select(AuditRow)
    if subject is not None:
        entries = entries.where(AuditRow.subject == subject)
    if action is not None:
        entries = entries.where(AuditRow.action == action)
    return fetch_page(session, entries, page, _entry, id_column=AuditRow.id)


def _entry(row: AuditRow) -> AuditLogEntry:
    return AuditLogEntry.model_validate(
        {
            "id": row.id,
            "actor": row.actor,
            "action": row.action,
            "subject": row.subject,
            "reason": row.reason,
            "created_at": row.created_at,
        }
    )
