"""Held-out data: whole prompts, because pairs of one prompt share responses, which would leak."""

from collections.abc import Sequence

import numpy as np

from api_schemas.errors import InvalidInput
from workers.preferences.comparison import Comparison, Split

MIN_PAIRS = 10
"""Fewer distinct pairs are no basis for a reward model."""

MIN_HOLDOUT_PAIRS = 10
"""Fewer held-out pairs are no basis for an accuracy."""


def split_by_prompt(comparisons: Sequence[Comparison], holdout_share: float, seed: int) -> Split:
    """Hold out the prompts that the data marks as `test`, else a share of them drawn by the seed.

    A prompt that the data has on both sides is trained on: its `test` lines are left out. With too
    few pairs to hold any out, all are for training, and the note says so. Raises InvalidInput
    (`file`) for fewer than MIN_PAIRS pairs, and for pairs that are all ties.
    """
    if len(comparisons) < MIN_PAIRS:
        raise InvalidInput(
            f"{len(comparisons)} distinct pairs with different responses, at least {MIN_PAIRS} are "
            "needed",
            param="file",
        )
    if all(each.is_tie for each in comparisons):
        raise InvalidInput(
            f"all {len(comparisons)} pairs are ties: no vote tells which response is better",
            param="file",
        )
    if any(each.split == "test" for each in comparisons):
        train = [each for each in comparisons if each.split != "test"]
        trained_on = {each.prompt for each in train}
        holdout = [
            each for each in comparisons if each.split == "test" and each.prompt not in trained_on
        ]
    else:
        held_out = _drawn_prompts(comparisons, holdout_share, seed)
        train = [each for each in comparisons if each.prompt not in held_out]
        holdout = [each for each in comparisons if each.prompt in held_out]
    if len(train) < MIN_PAIRS or len(holdout) < MIN_HOLDOUT_PAIRS:
        note = (
            f"{len(train)} pairs to train and {len(holdout)} on held-out prompts; an accuracy "
            f"needs at least {MIN_PAIRS} and {MIN_HOLDOUT_PAIRS}"
        )
        return Split(list(comparisons), [], note)
    return Split(train, holdout)


def _drawn_prompts(comparisons: Sequence[Comparison], holdout_share: float, seed: int) -> set[str]:
    prompts = sorted({each.prompt for each in comparisons})
    shuffled = np.random.default_rng(seed).permutation(len(prompts))
    count = max(1, round(holdout_share * len(prompts)))
    return {prompts[i] for i in shuffled[:count]}
