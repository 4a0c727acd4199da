"""Options that name a reward model, for a report and for one that is made ahead."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from api_schemas.errors import InvalidInput
from api_schemas.files import FilePurpose
from api_schemas.reward_models import RewardModelSpec
from client.client import Truthtune
from client.commands.context import read_document, upload_file, validated

SpecFile = Annotated[
    Path | None,
    typer.Option("--spec", "--reward-model", help="A reward model's spec, JSON or TOML."),
]
PreferencesOption = Annotated[
    str | None,
    typer.Option(help="Preference data: a file to upload, or the id of one that is uploaded."),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        help="How to fit the preferences: tfidf_bradley_terry (the default), bradley_terry, "
        "embedding, weight_averaged, ensemble or pairwise_calibrated."
    ),
]
MethodJson = Annotated[
    str | None, typer.Option(help='The method\'s settings as JSON, like {"epochs": 3}.')
]
AdapterOption = Annotated[
    Path | None,
    typer.Option(help="The folder of a PEFT adapter for sequence classification; uploaded."),
]
BaseModelOption = Annotated[
    str | None, typer.Option(help="The service's name of the adapter's base model.")
]
TrainedOption = Annotated[
    str | None, typer.Option(help="The id of a reward model of yours that is ready.")
]
MembersOption = Annotated[
    str | None,
    typer.Option(help="`mixture`: the members of an ensemble enter the round, not their sum."),
]

UNUPLOADED = "file_" + "0" * 26
"""Stands for a file that is uploaded once all else is known to be right."""
_DEFAULT_METHOD = "tfidf_bradley_terry"
_SOURCES = ("spec", "preferences", "adapter", "trained")
_GOES_WITH = {
    "method": ("preferences",),
    "method_json": ("preferences",),
    "base_model": ("adapter",),
    "members": ("preferences", "trained"),
}


@dataclass(frozen=True)
class SpecOptions:
    spec: Path | None
    preferences: str | None
    method: str | None
    method_json: str | None
    adapter: Path | None
    base_model: str | None
    trained: str | None = None
    members: str | None = None


def reward_model_spec(client: Truthtune, options: SpecOptions) -> RewardModelSpec:
    """The spec that the options name; what they bring as files is uploaded.

    Raises InvalidInput for options that don't go together, before anything is uploaded.
    """
    _require_one_source(options)
    if options.spec is not None:
        return _spec(read_document(options.spec), str(options.spec))
    if options.adapter is not None:
        return client.reward_models.adapter_spec(options.adapter, options.base_model)
    members = {} if options.members is None else {"members": options.members}
    if options.trained is not None:
        named = {"type": "trained", "reward_model_id": options.trained}
        return _spec(named | members, "--trained")
    assert options.preferences is not None
    fitted = {"type": "preference_data", "method": _method(options), **members}
    _spec(fitted | {"file_id": UNUPLOADED}, "--method")  # before the upload
    return _spec(fitted | {"file_id": data_file(client, options.preferences)}, "--preferences")


def data_file(client: Truthtune, named: str, purpose: FilePurpose = "preferences") -> str:
    """The id of a file that is uploaded now, or was."""
    if named.startswith("file_") and not Path(named).exists():
        return named
    return upload_file(client, Path(named), purpose).id


def _require_one_source(options: SpecOptions) -> None:
    given = [name for name in _SOURCES if getattr(options, name) is not None]
    if len(given) != 1:
        all_of_them = ", ".join(f"--{name}" for name in _SOURCES)
        raise InvalidInput(f"give one of {all_of_them}", param="reward_model")
    for name, sources in _GOES_WITH.items():
        if getattr(options, name) is not None and given[0] not in sources:
            option = name.replace("_", "-")
            where = " or ".join(f"--{source}" for source in sources)
            raise InvalidInput(f"--{option} goes with {where}, not with --{given[0]}")


def _method(options: SpecOptions) -> dict[str, Any]:
    settings: Any = {}
    if options.method_json is not None:
        try:
            settings = json.loads(options.method_json)
        except ValueError as error:
            raise InvalidInput(f"--method-json is not JSON: {error}") from None
        if not isinstance(settings, dict):
            raise InvalidInput("--method-json is not a JSON object")
    name = options.method or settings.get("name", _DEFAULT_METHOD)
    return {**settings, "name": name}


def _spec(value: Any, source: str) -> RewardModelSpec:
    found: RewardModelSpec = validated(RewardModelSpec, value, source)
    return found
