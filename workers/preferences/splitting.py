"""Held-out data: whole prompts, because pairs of one prompt share responses, which would leak."""

from collections.abc import Sequence

import numpy as np

from api_schemas.datasets import DataValidation
from api_schemas.errors import InvalidInput
from workers.preferences.comparison import Comparison, Split

MIN_PAIRS = 10
"""Fewer distinct pairs are no basis for a reward model."""

MIN_HOLDOUT_PAIRS = 10
"""Fewer held-out pairs are no basis for an accuracy."""


def split_by_prompt(comparisons: Sequence[Comparison], holdout_share: float, seed: int) -> Split:
    """Hold out the prompts that the data marks as `test`, else a share of them drawn by the seed.

    Which prompts are held out doesn't depend on the order of the comparisons. A prompt that the
    data has on both sides is trained on: its `test` lines are left out. With too few pairs to hold
    any out, all are for training, and the note says so. Raises InvalidInput (`file`) for fewer than
    MIN_PAIRS pairs, and for pairs that are all ties, of one prompt, or all marked `test`.
    """
    ties = sum(each.is_tie for each in comparisons)
    _require_enough(len(comparisons), len({each.prompt for each in comparisons}), ties)
    if all(each.split == "test" for each in comparisons):
        raise InvalidInput(
            f"all {len(comparisons)} pairs are marked 'test': none is left to train on",
            param="file",
        )
    if any(each.split == "test" for each in comparisons):
        held_out = _marked_prompts(comparisons)
    else:
        held_out = _drawn_prompts(comparisons, holdout_share, seed)
    train = [each for each in comparisons if each.prompt not in held_out and each.split != "test"]
    holdout = [each for each in comparisons if each.prompt in held_out]
    if note := _why_too_few(train, holdout):
        kept = [each for each in comparisons if each.prompt in held_out or each.split != "test"]
        return Split(kept, [], note)
    return Split(train, holdout)


def require_splittable(data: DataValidation, param: str) -> None:
    """Refuse what `split_by_prompt` would refuse, as far as the counts of a file tell.

    For the time before a job is queued; `param` is the field of the request that names the file.
    """
    _require_enough(data.pairs, data.prompts, data.tied_votes, param)


def _require_enough(pairs: int, prompts: int, ties: int, param: str = "file") -> None:
    if pairs < MIN_PAIRS:
        reason = f"{pairs} distinct pairs with different responses, at least {MIN_PAIRS} are needed"
    elif ties == pairs:
        reason = f"all {pairs} pairs are ties: no vote tells which response is better"
    elif prompts == 1:
        reason = (
            f"no split possible: all {pairs} pairs have the same prompt, and whole prompts are "
            "held out; at least 2 are needed"
        )
    else:
        return
    raise InvalidInput(reason, param=param)


def _marked_prompts(comparisons: Sequence[Comparison]) -> set[str]:
    trained_on = {each.prompt for each in comparisons if each.split != "test"}
    return {each.prompt for each in comparisons} - trained_on


def _drawn_prompts(comparisons: Sequence[Comparison], holdout_share: float, seed: int) -> set[str]:
    """At least one prompt, and not all of them."""
    prompts = sorted({each.prompt for each in comparisons})
    shuffled = np.random.default_rng(seed).permutation(len(prompts))
    count = min(max(1, round(holdout_share * len(prompts))), len(prompts) - 1)
    return {prompts[i] for i in shuffled[:count]}


def _why_too_few(train: Sequence[Comparison], holdout: Sequence[Comparison]) -> str | None:
    if all(each.is_tie for each in train):
        return f"all {len(train)} pairs of the prompts to train on are ties"
    if len(train) < MIN_PAIRS or len(holdout) < MIN_HOLDOUT_PAIRS:
        return (
            f"{len(train)} pairs to train and {len(holdout)} on held-out prompts; an accuracy "
            f"needs at least {MIN_PAIRS} and {MIN_HOLDOUT_PAIRS}"
        )
    return None
