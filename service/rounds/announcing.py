"""From what the operator asks for to the announcement: names become digests."""

from typing import Annotated

from fastapi import Depends

from api_schemas.errors import InvalidInput, TruthtuneError
from api_schemas.rounds import Announcement, RoundCreate
from service.auth import Operator
from service.dependencies import State
from service.files import repository as files
from service.files.content import read_prompts
from workers import base_models


def _announced(body: RoundCreate, principal: Operator, state: State) -> Announcement:
    """Runs before the write transaction: digesting a model's weights, or fetching them, is slow."""
    with state.database.read() as session:
        file = files.get_own_file(
            session, principal, body.prompts_file_id, "prompts", param="prompts_file_id"
        )
    prompts = [line.prompt for line in read_prompts(state.artifacts, file.sha256)]
    resolved = _resolve(body.base_model, prompts, body.generation.max_new_tokens)
    return Announcement(
        **body.model_dump(), base_model_revision=resolved.revision, prompts_sha256=file.sha256
    )


Announced = Annotated[Announcement, Depends(_announced)]


def _resolve(name: str, prompts: list[str], max_new_tokens: int) -> base_models.ResolvedBaseModel:
    """The model, with a context that the prompts fit into."""
    try:
        resolved = base_models.resolve(name)
        base_models.check_prompts(resolved, prompts, max_new_tokens)
    except TruthtuneError:
        raise
    except Exception as error:  # whatever lies there is foreign, and tokenizers raises just this
        raise InvalidInput(
            f"base_model {name[:100]!r} can't be read: {type(error).__name__}: {error}",
            code="unknown_base_model",
            param="base_model",
        ) from error
    return resolved
