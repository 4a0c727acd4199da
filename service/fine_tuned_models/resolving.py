"""From a base model's name to its files and revision: an allowed one, or one made here."""

from api_schemas.errors import InvalidInput, TruthtuneError
from service.dependencies import AppState
from service.fine_tuned_models import repository
from service.rounds.allowed_models import require_allowed
from workers import base_models, own_base_models


def resolve_allowed(
    state: AppState, name: str, param: str = "base_model"
) -> base_models.ResolvedBaseModel:
    """The operator's own word is enough for what was made here; of others only those listed.

    It belongs before a write transaction: digesting a model's weights, or fetching them, is slow
    the first time. Raises InvalidInput (`param`), and NotFound and Conflict for a `bm_…` that
    doesn't exist or is not made yet.
    """
    try:
        if not own_base_models.is_own(name):
            require_allowed(name, state.settings.base_model_names, param)
            return base_models.resolve(name)
        with state.database.read() as session:
            revision = repository.get_result(session, name, param).revision
        own_base_models.materialise(state.artifacts, name, revision)
        return base_models.resolve_pinned(name, revision)
    except TruthtuneError as error:
        error.param = param  # of whatever names it, not of a round
        raise
    except Exception as error:  # whatever lies there is foreign
        raise unreadable_base_model(name, param, error) from error


def unreadable_base_model(name: str, param: str, error: Exception) -> InvalidInput:
    return InvalidInput(
        f"{param} {name[:100]!r} can't be read: {type(error).__name__}: {error}",
        code="unknown_base_model",
        param=param,
    )
