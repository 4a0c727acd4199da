"""SQL of models. The operator sees all, a group those of rounds that it takes part in and pays."""

import re
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session

from api_schemas.base import ListPage
from api_schemas.errors import NotFound
from api_schemas.ids import new_id
from api_schemas.models import BaseModelEntry, Model, ModelFile
from api_schemas.rounds import Announcement
from service.auth import Principal
from service.models.archive import ARCHIVE_NAME
from service.pages import PageQuery, fetch_page
from service.tables import InvoiceRow, ModelRow
from workers.serving.requests import ServedBase, ServedModel

_ID = re.compile(r"mdl_[0-9a-z]{26}")


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


def get_entry(session: Session, principal: Principal, name: str) -> Model | BaseModelEntry:
    """The model of this id, or the base model of this name. Raises NotFound."""
    if _ID.fullmatch(name):
        return get_model(session, principal, name)
    row = _newest_on(session, principal, name)
    return BaseModelEntry(
        id=row.base_model,
        base_model_revision=row.base_model_revision,
        created=int(row.created_at.timestamp()),
    )


def get_served(session: Session, principal: Principal, name: str) -> ServedModel:
    """What to load for `get_entry`'s model. Raises NotFound (`model`)."""
    try:
        tuned = bool(_ID.fullmatch(name))
        find = _found if tuned else _newest_on
        row = find(session, principal, name)
    except NotFound as error:
        raise NotFound(error.message, code="model_not_found", param="model") from error
    base = ServedBase(name=row.base_model, revision=row.base_model_revision)
    if not tuned:
        return ServedModel(base=base, adapter=None)
    (archive,) = (file for file in _files(row) if file.name == ARCHIVE_NAME)
    return ServedModel(base=base, adapter=archive.sha256)


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


def _newest_on(session: Session, principal: Principal, base_model: str) -> ModelRow:
    """The newest model on this base model: its round says which weights the name stands for."""
    row = None
    if base_model.isprintable():  # PostgreSQL can't compare with U+0000
        named = _visible(principal).where(ModelRow.base_model == base_model)
        row = session.scalar(named.order_by(ModelRow.id.desc()).limit(1))
    if row is None:
        raise NotFound(
            f"there is no model {base_model!r}: give the id of a settled model, or the name of the "
            "base model of a settled round of yours"
        )
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
        created=int(row.created_at.timestamp()),
    )
