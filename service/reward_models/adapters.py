"""Whether an uploaded adapter fits its base model, by shapes alone: no weight is read."""

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from api_schemas.errors import InvalidInput
from api_schemas.preference_methods import WeightAveraged
from api_schemas.reward_models import AdapterSpec, PreferenceDataSpec, RewardModelSpec
from workers.artifacts import ArtifactStore
from workers.base_models import ResolvedBaseModel
from workers.rewards.adapter_shapes import check_adapter_tensors, read_header

_GGUF_KEYS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
}


def check_adapters(
    artifacts: ArtifactStore,
    spec: RewardModelSpec,
    sha256s: dict[str, str],
    bases: dict[str, ResolvedBaseModel],
) -> None:
    """Raises InvalidInput, naming the tensor and both shapes, for an adapter of another base.

    `sha256s` are those of the spec's files, `bases` its base models by name.
    """
    for param, file_id, base, with_score in _adapters(spec):
        config = base_config(bases[base])
        with artifacts.open(sha256s[file_id]) as file:
            header = read_header(file, param)
        try:
            check_adapter_tensors(header, config, with_score=with_score, param=param)
        except KeyError as error:
            raise InvalidInput(
                f"{param}: the configuration of {base!r} has no {error}; adapters need a base of "
                "Llama's layout",
                param=param,
            ) from None


def _adapters(spec: RewardModelSpec) -> Iterator[tuple[str, str, str, bool]]:
    """Of every adapter: the field, the file, the base model, whether it has a head."""
    if isinstance(spec, AdapterSpec):
        yield "reward_model.file_id", spec.file_id, spec.base_model, True
    elif isinstance(spec, PreferenceDataSpec) and isinstance(spec.method, WeightAveraged):
        for i, file_id in enumerate(spec.method.checkpoints):
            yield f"reward_model.method.checkpoints[{i}]", file_id, spec.method.base_model, False


def base_config(base: ResolvedBaseModel) -> dict[str, Any]:
    """The sizes in the base model's `config.json`; of a GGUF file that no worker has converted yet,
    those of its header."""
    file = base.folder / "config.json"
    if file.is_file():
        return dict(json.loads(file.read_text()))
    return _gguf_config(base.source, base.revision)


@lru_cache(maxsize=8)
def _gguf_config(source: Path, revision: str) -> dict[str, Any]:
    """`revision` keys the cache: reading the header takes seconds, for it holds the vocabulary."""
    from gguf import GGUFReader

    fields = GGUFReader(str(source)).fields
    architecture = fields["general.architecture"].contents()
    found = {name: fields.get(f"{architecture}.{key}") for key, name in _GGUF_KEYS.items()}
    return {name: int(field.contents()) for name, field in found.items() if field is not None}
