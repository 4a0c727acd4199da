"""An uploaded reward model: a PEFT adapter for sequence classification over a named base model.

Scored as `fine_tuned.py` says: the score is read at the end token of the chat turn, so that an
adapter must have been trained on such sequences. Only LoRA on the linear layers of a Llama-layout
base and one head are read; all else in the file is refused.
"""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from api_schemas.reward_models import AdapterSpec
from workers.rewards.adapter_shapes import check_adapter_tensors, read_header
from workers.rewards.fine_tuned import FineTunedReward
from workers.rewards.interfaces import FitContext
from workers.rewards.registry import reward_model

if TYPE_CHECKING:
    from workers.base_models import BaseModel
    from workers.reward_training.lora import LoraAdapter


@reward_model("adapter")
@dataclass(frozen=True, eq=False)
class UploadedAdapter(FineTunedReward):
    @classmethod
    def validate(cls, spec: AdapterSpec) -> None:
        """The schema says it all; the file is read by `build`."""

    @classmethod
    def build(cls, spec: AdapterSpec, context: FitContext) -> Self:
        """Raises InvalidInput for a file that isn't such an adapter of this base."""
        from workers.base_models import load_in_full_precision

        revision = context.revision(spec.base_model)
        adapter = read_adapter(
            context.load_file(spec.file_id),
            load_in_full_precision(spec.base_model, revision),
            alpha=spec.lora_alpha,
            use_rslora=spec.use_rslora,
            param="reward_model.file_id",
        )
        return cls.from_adapter(
            adapter,
            base_model=spec.base_model,
            revision=revision,
            max_tokens=spec.max_tokens,
        )


def read_adapter(
    data: bytes,
    base: "BaseModel",
    *,
    alpha: float,
    param: str,
    use_rslora: bool = False,
    with_score: bool = True,
) -> "LoraAdapter":
    """The adapter in the bytes of a safetensors file. Raises InvalidInput (`param`)."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    from api_schemas.errors import InvalidInput
    from workers.reward_training.lora import LoraAdapter

    header = read_header(io.BytesIO(data), param)
    config = base.model.config.to_dict()
    shapes = check_adapter_tensors(header, config, with_score=with_score, param=param)
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise InvalidInput(f"the adapter can't be read: {error}", param=param) from None
    return LoraAdapter.from_tensors(
        tensors, shapes, alpha=alpha, use_rslora=use_rslora, param=param
    )
