"""SQL of models. The operator sees all, a group those of rounds that it takes part in and pays."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session

from api_schemas.base import ListPage
from api_schemas.errors import NotFound
from api_schemas.ids import new_id
from api_schemas.models import Model, ModelFile
from api_schemas.rounds import Announcement
from service.auth import Principal
from service.models.archive import ARCHIVE_NAME
from service.pages import PageQuery, fetch_page
from service.tables import InvoiceRow, ModelRow


def add_model(
    session: Session,
    round_id: str,
    announcement: Announcement,
    adapter_digest: str,
    files: Sequence[ModelFile],
    archive: ModelFile,
    now: datetime,
) -> None:
    """The archive is kept as the last of the row's files, and shown as a route of its own."""
    session.add(
        ModelRow(
            id=new_id("mdl"),
            round_id=round_id,
            base_model=announcement.base_model,
            base_model_revision=announcement.base_model_revision,
            adapter_digest=adapter_digest,
            files=[file.model_dump(mode="json") for file in (*files, archive)],
            created_at=now,
        )
    )


def list_models(session: Session, principal: Principal, page: PageQuery) -> ListPage[Model]:
    return fetch_page(session, _visible(principal), page, _model, id_column=ModelRow.id)


def get_model(session: Session, principal: Principal, model_id: str) -> Model:
    return _model(_found(session, principal, model_id))


def get_file(session: Session, principal: Principal, model_id: str, name: str) -> ModelFile:
    """A file of the model, `adapter.zip` among them. Raises NotFound."""
    for file in _files(_found(session, principal, model_id)):
        if file.name == name:
            return file
    raise NotFound(f"model {model_id} has no file {name!r}")


def _visible(principal: Principal) -> Select[ModelRow]:
    """Every group of a round that was not excluded has an invoice, be it of 0; no other has one."""
    if principal.is_operator:
        return select(ModelRow)
    invoiced = exists().where(
        InvoiceRow.round_id == ModelRow.round_id, InvoiceRow.group_id == principal.owner_id
    )
    return select(ModelRow).where(invoiced)


def _found(session: Session, principal: Principal, model_id: str) -> ModelRow:
    row = session.scalar(_visible(principal).where(ModelRow.id == model_id))
    if row is None:
        raise NotFound(f"there is no model {model_id}")
    return row


def _files(row: ModelRow) -> list[ModelFile]:
    return [ModelFile.model_validate(file) for file in row.files]


def _model(row: ModelRow) -> Model:
    return Model(
        id=row.id,
        round_id=row.round_id,
        base_model=row.base_model,
        base_model_revision=row.base_model_revision,
        adapter_digest=row.adapter_digest,
        files=[file for file in _files(row) if file.name != ARCHIVE_NAME],
        created_at=row.created_at,
    )
