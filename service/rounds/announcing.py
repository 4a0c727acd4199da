"""From what the operator asks for to the announcement: names become digests."""

import math
from typing import Annotated

from fastapi import Depends

from api_schemas.errors import InvalidInput, TruthtuneError
from api_schemas.rounds import Announcement, RoundCreate
from api_schemas.training import RewardedSoups
from service.auth import Operator
from service.dependencies import State
from service.files import repository as files
from service.files.content import read_prompts
from service.fine_tuned_models.resolving import resolve_allowed, unreadable_base_model
from workers import base_models


def _announced(body: RoundCreate, principal: Operator, state: State) -> Announcement:
    """Runs before the write transaction: digesting a model's weights, or fetching them, is slow."""
    with state.database.read() as session:
        file = files.get_own_file(
            session, principal, body.prompts_file_id, "prompts", param="prompts_file_id"
        )
    resolved = resolve_allowed(state, body.base_model)
    prompts = [line.prompt for line in read_prompts(state.artifacts, file.sha256)]
    _require_context(resolved, prompts, body.generation.max_new_tokens)
    return Announcement(
        **body.model_dump(), base_model_revision=resolved.revision, prompts_sha256=file.sha256
    )


Announced = Annotated[Announcement, Depends(_announced)]


def require_grid_fits(announcement: Announcement, registered: int) -> None:
    """Raises InvalidInput if the soups of all `registered` groups are more than announced.

    Coefficients are multiples of 1/s that sum to 1: C(n + s − 1, s) mixes of n adapters.
    At least two groups are counted, for more may still be registered; fewer may report.
    """
    soups = announcement.training
    if not isinstance(soups, RewardedSoups):
        return
    groups = max(registered, 2)
    needed = math.comb(groups + soups.grid_steps - 1, soups.grid_steps)
    if needed > soups.max_candidates:
        raise InvalidInput(
            f"a grid of grid_steps {soups.grid_steps} has {needed} candidates for the {groups} "
            f"groups that may report, beyond max_candidates {soups.max_candidates}: announce "
            "fewer grid_steps, or as many max_candidates",
            param="training.max_candidates",
        )


def _require_context(
    resolved: base_models.ResolvedBaseModel, prompts: list[str], max_new_tokens: int
) -> None:
    """Raises InvalidInput unless the prompts fit into the model's context."""
    try:
        base_models.check_prompts(resolved, prompts, max_new_tokens)
    except TruthtuneError:
        raise
    except Exception as error:  # whatever lies there is foreign, and tokenizers raises just this
        raise unreadable_base_model(resolved.name, "base_model", error) from error
