"""From a request to a base model that waits for its job."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy.orm import Session

from api_schemas.errors import InvalidInput
from api_schemas.fine_tuned_models import BaseModelCreate, FineTunedBaseModel
from api_schemas.ids import new_id
from api_schemas.jobs import BaseModelJobInput
from service.auth import Operator, Principal
from service.corpora.sources import Lines, find_lines
from service.dependencies import State
from service.fine_tuned_models import repository
from service.fine_tuned_models.resolving import resolve_allowed
from service.jobs import queue

_LEAST_LINES = 2
"""Of a file: one to train on and one to hold out."""


def _checked(body: BaseModelCreate, principal: Operator, state: State) -> BaseModelJobInput:
    """Runs before the write transaction: digesting a model's weights is slow."""
    with state.database.read() as session:
        found = find_lines(session, principal, body.corpus_id, body.file_id)
    _require_room_to_hold_out(found)
    return BaseModelJobInput(
        base_model_id=new_id("bm"),
        settings=body,
        base_model_revision=resolve_allowed(state, body.base_model).revision,
        lines=found.lines,
        holdout=found.holdout,
    )


Checked = Annotated[BaseModelJobInput, Depends(_checked)]


def request_base_model(
    session: Session, principal: Principal, job: BaseModelJobInput
) -> FineTunedBaseModel:
    job_id = queue.enqueue(session, job, principal.owner_id)
    return repository.add_base_model(session, job_id, job)


def _require_room_to_hold_out(found: Lines) -> None:
    if found.holdout is None and found.count < _LEAST_LINES:
        raise InvalidInput(
            f"the file has {found.count} line; one to train on and one to hold out are "
            f"{_LEAST_LINES}",
            param="file_id",
        )
