"""From the names in a reward model's spec to what they stand for, checked, before it is stored."""

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from api_schemas.errors import InvalidInput, TruthtuneError
from api_schemas.preference_methods import Ensemble, FineTuning
from api_schemas.reward_models import (
    AdapterSpec,
    JudgeSpec,
    NamedFile,
    PinnedInputs,
    PreferenceDataSpec,
    RewardModelSpec,
    TrainedSpec,
    named_base_models,
    named_files,
)
from service.auth import Principal
from service.dependencies import AppState
from service.files import repository as files
from service.reward_models import repository
from service.reward_models.adapters import check_adapters
from workers import base_models
from workers.preferences.splitting import require_splittable
from workers.rewards import registry
from workers.rewards.judge import JUDGES


def pin(
    state: AppState,
    principal: Principal,
    spec: RewardModelSpec,
    evaluation_file_id: str | None = None,
) -> PinnedInputs:
    """What the spec's names stand for now: own files, base models, own reward models.

    It belongs before a write transaction: digesting a base model is slow the first time. Raises
    NotFound, Conflict for a reward model that isn't ready, and InvalidInput for what can't be used;
    `param` is the field that names it.
    """
    named = named_files(spec)
    if evaluation_file_id is not None:
        named.append(NamedFile("evaluation_file_id", evaluation_file_id, "preferences"))
    with state.database.read() as session:
        sha256s = _files(session, principal, named, _data_file(spec))
        reward_models = _reward_models(session, principal, spec)
    named_models = named_base_models(spec)
    _require_allowed(named_models, state.settings.reward_base_model_names)
    if isinstance(spec, JudgeSpec):
        listed = state.settings.endpoint_list
        listed.require(spec.judge, "reward_model.judge", by_group=True)
    if not isinstance(spec, TrainedSpec):
        registry.validate(spec)
    must_write = _needs_a_writer(spec)
    bases = {name: _base(param, name, must_write) for param, name in named_models.items()}
    check_adapters(state.artifacts, spec, sha256s, bases)
    return PinnedInputs(
        files=sha256s,
        base_models={name: base.revision for name, base in bases.items()},
        reward_models=reward_models,
    )


def asks_a_judge(state: AppState, principal: Principal, spec: RewardModelSpec) -> bool:
    """Whether it is a judge, or was made ahead as one. Raises what `pin` does for the latter."""
    if not isinstance(spec, TrainedSpec):
        return isinstance(spec, JudgeSpec)
    with state.database.read() as session:
        fitted = repository.get_fitted(session, principal, spec.reward_model_id)
    return fitted.method in JUDGES


def _files(
    session: Session, principal: Principal, named: Sequence[NamedFile], data_file: str | None
) -> dict[str, str]:
    """Digests by id. The `data_file` is fitted to, so it must leave something to hold out."""
    found = {}
    for each in named:
        file = files.get_own_file(session, principal, each.file_id, each.purpose, param=each.param)
        if each.file_id == data_file and file.validation is not None:
            require_splittable(file.validation, each.param)
        found[each.file_id] = file.sha256
    return found


def _data_file(spec: RewardModelSpec) -> str | None:
    return spec.file_id if isinstance(spec, PreferenceDataSpec) else None


def _reward_models(session: Session, principal: Principal, spec: RewardModelSpec) -> dict[str, str]:
    if not isinstance(spec, TrainedSpec):
        return {}
    param = "reward_model.reward_model_id"
    fitted = repository.get_fitted(session, principal, spec.reward_model_id, param)
    if spec.members == "mixture" and not fitted.has_members:
        raise InvalidInput(
            f"members 'mixture': reward model {spec.reward_model_id}, of method "
            f"{fitted.method!r}, has no members",
            param="reward_model.members",
        )
    return {spec.reward_model_id: fitted.model}


def _require_allowed(named: Mapping[str, str], allowed: Sequence[str]) -> None:
    """A group names these models: it may not make the service read any folder."""
    for param, name in named.items():
        if name not in allowed:
            raise InvalidInput(
                f"{param}: {name[:100]!r} is none of the base models that this service has for "
                f"reward models: {', '.join(allowed)}; its operator can add to them with "
                "TRUTHTUNE_REWARD_BASE_MODELS",
                code="unknown_base_model",
                param=param,
            )


def _needs_a_writer(spec: RewardModelSpec) -> bool:
    """Whether a base model that it names must be one that writes."""
    if not isinstance(spec, PreferenceDataSpec):
        return isinstance(spec, AdapterSpec | JudgeSpec)
    method = spec.method.member if isinstance(spec.method, Ensemble) else spec.method
    return isinstance(method, FineTuning)


def _base(param: str, name: str, must_write: bool) -> base_models.ResolvedBaseModel:
    """The base model or encoder. One that is tuned, or judges, must be a language model."""
    try:
        found = base_models.resolve(name)
        if not (must_write and base_models.is_sentence_encoder(found)):
            return found
        reason = "it is a sentence encoder, which only methods on embeddings take"
    except TruthtuneError as error:
        reason = error.message
    except Exception as error:  # whatever lies there is foreign
        reason = f"{type(error).__name__}: {error}"
    raise InvalidInput(
        f"{param}: {name!r} can't be used: {reason}", code="unknown_base_model", param=param
    )
