"""Held-out prompts: never trained on, and the same for every order of the data."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.datasets import DataValidation
from api_schemas.errors import InvalidInput
from workers.preferences.comparison import Comparison, Split
from workers.preferences.splitting import (
    MIN_HOLDOUT_PAIRS,
    MIN_PAIRS,
    require_splittable,
    split_by_prompt,
)


def pairs(prompts: int, each: int = 1, **fields: object) -> list[Comparison]:
    return [
        Comparison(f"p{i}", f"good {i} {j}", f"bad {i} {j}", **fields)  # type: ignore[arg-type]
        for i in range(prompts)
        for j in range(each)
    ]


def prompts_of(comparisons: object) -> set[str]:
    return {each.prompt for each in comparisons}  # type: ignore[attr-defined]


def as_sets(split: Split) -> tuple[set[Comparison], set[Comparison], str | None]:
    return set(split.train), set(split.holdout), split.note


comparisons = st.lists(
    st.builds(
        Comparison,
        st.integers(0, 12).map(str),
        st.integers(0, 9).map("good {}".format),
        st.integers(0, 9).map("bad {}".format),
        st.sampled_from([0.5, 0.75, 1.0]),
        split=st.sampled_from([None, "train", "test"]),
    ),
    min_size=MIN_PAIRS,
    max_size=80,
    unique=True,
)


@settings(max_examples=150, deadline=None)
@given(comparisons, st.floats(0.01, 0.99), st.integers(0, 99), st.randoms(use_true_random=False))
def test_no_prompt_is_on_both_sides_whatever_the_data_and_their_order(
    data: list[Comparison], share: float, seed: int, rng: random.Random
) -> None:
    try:
        split = split_by_prompt(data, share, seed)
    except InvalidInput:
        few = len(prompts_of(data)) == 1
        assert few or all(c.is_tie for c in data) or all(c.split == "test" for c in data)
        return
    assert not prompts_of(split.train) & prompts_of(split.holdout)
    kept = set(split.everything)
    assert len(split.everything) == len(kept)
    trained_on = {each.prompt for each in data if each.split != "test"}
    assert set(data) - kept == {c for c in data if c.split == "test" and c.prompt in trained_on}
    assert bool(split.note) == (not split.holdout)
    if split.holdout:
        assert len(split.train) >= MIN_PAIRS
        assert len(split.holdout) >= MIN_HOLDOUT_PAIRS
        assert not all(each.is_tie for each in split.train)
    shuffled = rng.sample(data, len(data))
    assert as_sets(split_by_prompt(shuffled, share, seed)) == as_sets(split)


def test_the_seed_draws_the_prompts_and_the_share_says_how_many() -> None:
    data = pairs(50, each=2)
    drawn = [prompts_of(split_by_prompt(data, 0.2, seed).holdout) for seed in range(5)]
    assert {len(prompts) for prompts in drawn} == {10}
    assert len({frozenset(prompts) for prompts in drawn}) == 5


def test_marked_prompts_are_held_out_whatever_the_share() -> None:
    data = pairs(30, split="train") + [
        Comparison(f"t{k}", "a", "b", split="test") for k in range(12)
    ]
    split = split_by_prompt(data, 0.9, seed=1)
    assert prompts_of(split.holdout) == {f"t{k}" for k in range(12)}
    assert (len(split.train), split.note) == (30, None)


def test_data_marked_train_alone_is_split_by_the_seed() -> None:
    assert len(split_by_prompt(pairs(100, split="train"), 0.2, 0).holdout) == 20


def test_one_prompt_cannot_be_split() -> None:
    with pytest.raises(InvalidInput, match="no split possible: all 40 pairs have the same"):
        split_by_prompt(pairs(1, each=40), 0.2, 0)


def test_ties_alone_are_refused() -> None:
    with pytest.raises(InvalidInput, match="all 20 pairs are ties"):
        split_by_prompt(pairs(20, share=0.5), 0.2, 0)


def test_data_that_is_all_for_testing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="all 20 pairs are marked 'test'"):
        split_by_prompt(pairs(20, split="test"), 0.2, 0)


def test_fewer_pairs_than_a_model_needs_are_refused() -> None:
    with pytest.raises(
        InvalidInput, match="9 distinct pairs with different responses, at least 10"
    ):
        split_by_prompt(pairs(9), 0.2, 0)


@pytest.mark.parametrize(
    "data",
    [pairs(9), pairs(1, each=40), pairs(20, share=0.5), pairs(20), pairs(2, each=5)],
)
def test_the_counts_of_a_file_tell_what_would_be_refused(data: list[Comparison]) -> None:
    counts = DataValidation(
        lines=50,
        pairs=len(data),
        prompts=len(prompts_of(data)),
        tied_votes=sum(each.is_tie for each in data),
    )
    found = []
    for refusing in (
        lambda: require_splittable(counts, "reward_model.file_id"),
        lambda: split_by_prompt(data, 0.2, 0),
    ):
        try:
            refusing()
            found.append((None, None))
        except InvalidInput as error:
            found.append((error.message, error.param))
    assert found[0][0] == found[1][0]
    assert found[0][1] in (None, "reward_model.file_id")


def test_too_few_pairs_to_hold_any_out_are_all_for_training_and_it_is_said() -> None:
    data = pairs(12)
    split = split_by_prompt(data, 0.2, 0)
    assert (split.train, split.holdout) == (data, [])
    assert split.note == (
        "10 pairs to train and 2 on held-out prompts; an accuracy needs at least 10 and 10"
    )


def test_decided_pairs_are_not_all_held_out() -> None:
    data = pairs(20, share=0.5) + [Comparison("q", f"a{k}", f"b{k}") for k in range(20)]
    notes = {split_by_prompt(data, 0.2, seed).note for seed in range(30)}
    assert any(note and note.endswith("of the prompts to train on are ties") for note in notes)
    for seed in range(30):
        assert not all(each.is_tie for each in split_by_prompt(data, 0.2, seed).train)
