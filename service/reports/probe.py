"""A reward model's first scores, so that one that can't work is refused when it is reported."""

from typing import NoReturn

import numpy as np

from api_schemas.errors import InvalidInput
from api_schemas.reports import ProbeResult
from api_schemas.reward_models import RewardModelSpec, TrainedSpec
from workers.rewards import registry
from workers.rewards.interfaces import FitContext
from workers.rewards.probing import PROBE_RESPONSES

PROBE_PROMPTS = 4


def probe(spec: RewardModelSpec, prompts: list[str]) -> ProbeResult | None:
    """Range of the raw scores of every prompt with every fixed response; None where the model must
    be fitted to data first.

    Raises InvalidInput (`reward_model…`) for an unusable spec or a score that is not finite.
    """
    if isinstance(spec, TrainedSpec):
        return None
    registry.validate(spec)
    if not registry.can_be_probed(spec):
        return None
    pairs = [(prompt, response) for prompt in prompts for response in PROBE_RESPONSES]
    scores = registry.fit(spec, FitContext(_no_file)).score(*zip(*pairs, strict=True))
    if not np.isfinite(scores).all():
        index = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise InvalidInput(
            f"the reward model scores {scores[index]} for the prompt {pairs[index][0][:80]!r} and "
            f"the response {pairs[index][1][:80]!r}; a score must be a finite number",
            param="reward_model",
        )
    return ProbeResult(samples=len(pairs), minimum=scores.min(), maximum=scores.max())


def _no_file(file_id: str) -> NoReturn:
    raise InvalidInput(f"this reward model reads no file, but asked for {file_id}")
