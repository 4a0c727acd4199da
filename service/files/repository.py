"""SQL of files. A principal sees its own, and the prompts of rounds that were announced."""

from datetime import datetime

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import Session

from api_schemas.base import ListPage
from api_schemas.errors import InvalidInput, NotFound
from api_schemas.files import File, FilePurpose
from api_schemas.ids import new_id
from service.auth import Principal
from service.files.upload import Upload
from service.pages import PageQuery, fetch_page
from service.tables import FileRow, RoundRow


def add_file(session: Session, principal: Principal, upload: Upload, now: datetime) -> File:
    row = FileRow(
        id=new_id("file"),
        owner_id=principal.owner_id,
        purpose=upload.purpose,
        filename=upload.filename,
        bytes=upload.bytes,
        lines=upload.lines,
        sha256=upload.sha256,
        validation=upload.validation.model_dump() if upload.validation else None,
        created_at=now,
    )
    session.add(row)
    return _file(row)


def get_file(session: Session, principal: Principal, file_id: str) -> File:
    """A file of one's own, or the prompts of an announced round."""
    visible = or_(FileRow.owner_id == principal.owner_id, _announced())
    return _found(session, file_id, visible)


def get_own_file(
    session: Session, principal: Principal, file_id: str, purpose: FilePurpose, param: str
) -> File:
    """The principal's own file that the request's field `param` names.

    Raises NotFound, or InvalidInput for a file of another purpose.
    """
    file = _found(session, file_id, FileRow.owner_id == principal.owner_id, param)
    if file.purpose != purpose:
        raise InvalidInput(
            f"file {file_id} has the purpose {file.purpose}; this needs one of {purpose}",
            param=param,
        )
    return file


def lock_own_file(session: Session, principal: Principal, file_id: str) -> FileRow:
    """The row of a file of the principal's own, held until the transaction ends."""
    own = select(FileRow).where(FileRow.id == file_id, FileRow.owner_id == principal.owner_id)
    row = session.scalar(own.with_for_update())
    if row is None:
        raise NotFound(f"there is no file {file_id}")
    return row


def list_files(session: Session, principal: Principal, page: PageQuery) -> ListPage[File]:
    own = select(FileRow).where(FileRow.owner_id == principal.owner_id)
    return fetch_page(session, own, page, _file, id_column=FileRow.id)


def _found(
    session: Session, file_id: str, visible: ColumnElement[bool], param: str | None = None
) -> File:
    row = session.scalar(select(FileRow).where(FileRow.id == file_id, visible))
    if row is None:
        raise NotFound(f"there is no file {file_id}", param=param)
    return _file(row)


def _announced() -> ColumnElement[bool]:
    named = RoundRow.announcement["prompts_file_id"].as_string() == FileRow.id
    return exists().where(named, RoundRow.opened_at.is_not(None))


def _file(row: FileRow) -> File:
    return File.model_validate(
        {
            "id": row.id,
            "purpose": row.purpose,
            "filename": row.filename,
            "bytes": row.bytes,
            "lines": row.lines,
            "sha256": row.sha256,
            "validation": row.validation,
            "created_at": row.created_at,
        }
    )
