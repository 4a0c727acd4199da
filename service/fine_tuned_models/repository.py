"""SQL of base models made here. The operator sees all, a group those that rounds start from."""

from collections.abc import Iterator, Sequence

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from api_schemas.base import ListPage
from api_schemas.errors import NotFound
from api_schemas.fine_tuned_models import BaseModelResult, FineTunedBaseModel
from api_schemas.jobs import BaseModelJobInput
from service.auth import Principal
from service.jobs import products
from service.pages import PageQuery, to_page
from service.tables import FineTunedBaseModelRow, JobRow, RoundRow


def add_base_model(session: Session, job_id: str, job: BaseModelJobInput) -> FineTunedBaseModel:
    settings = job.settings
    row = products.add(
        session, FineTunedBaseModelRow, job.base_model_id, job_id, settings.name, settings
    )
    return _base_models(session, [row])[0]


def list_base_models(session: Session, page: PageQuery) -> ListPage[FineTunedBaseModel]:
    """Newest first; for the operator."""
    rows, has_more = products.newest(session, FineTunedBaseModelRow, page)
    return to_page(_base_models(session, rows), has_more)


def get_base_model(
    session: Session, principal: Principal, base_model_id: str
) -> FineTunedBaseModel:
    return _base_models(session, [_visible(session, principal, base_model_id)])[0]


def get_visible_result(
    session: Session, principal: Principal, base_model_id: str
) -> BaseModelResult:
    """Raises NotFound, and Conflict until the base model's job has succeeded."""
    return get_result(session, _visible(session, principal, base_model_id).id)


def get_result(session: Session, base_model_id: str, param: str | None = None) -> BaseModelResult:
    """As `get_visible_result`, whoever asks (`param`)."""
    row = products.find_made(session, FineTunedBaseModelRow, base_model_id, param)
    return BaseModelResult.model_validate(row.result)


def ancestry(session: Session, name: str) -> Iterator[BaseModelJobInput]:
    """How the base model was made, then the one that it started from, and so on; nothing for one
    that was not made here."""
    row = session.get(FineTunedBaseModelRow, name)
    while row is not None:
        yield BaseModelJobInput.model_validate(session.get_one(JobRow, row.job_id).input)
        row = session.get(FineTunedBaseModelRow, row.settings["base_model"])


def _visible(session: Session, principal: Principal, base_model_id: str) -> FineTunedBaseModelRow:
    """Raises NotFound, also for a group where no opened round starts from it."""
    row = products.find(session, FineTunedBaseModelRow, base_model_id)
    if principal.is_operator or _is_announced(session, base_model_id):
        return row
    raise NotFound(f"there is no base model {base_model_id}")


def _is_announced(session: Session, base_model_id: str) -> bool:
    named = RoundRow.announcement["base_model"].as_string() == base_model_id
    return bool(session.scalar(select(exists().where(named, RoundRow.opened_at.is_not(None)))))


def _base_models(
    session: Session, rows: Sequence[FineTunedBaseModelRow]
) -> list[FineTunedBaseModel]:
    return [FineTunedBaseModel.model_validate(each) for each in products.fields(session, rows)]
