"""The page for groups shows what the mechanism computes, in figures and in words."""

import importlib.util
import re
from types import ModuleType

import numpy as np
import pytest
from pages import ROOT

PAGE = (ROOT / "docs" / "for-groups.md").read_text()
FIGURES = ROOT / "docs" / "figures"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The program that draws the figures."""
    spec = importlib.util.spec_from_file_location("for_groups", FIGURES / "for_groups.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_figures_are_what_the_program_draws(example: ModuleType) -> None:
    for name, draw in example.FIGURES.items():
        assert (FIGURES / name).read_bytes() == draw(), f"run docs/figures/for_groups.py: {name}"


def test_every_figure_of_the_page_has_a_text_in_its_place(example: ModuleType) -> None:
    shown = dict(re.findall(r"!\[([^\]]+)\]\(figures/([^)]+)\)", PAGE))
    assert sorted(shown.values()) == sorted(example.FIGURES)
    assert all(len(text) > 80 for text in shown)


def test_the_table_of_tastes_is_the_game(example: ModuleType) -> None:
    for group, size, rewards_J in zip(
        example.GROUPS, example.GAME.sizes_N, example.GAME.rewards_NXJ[:, 0], strict=True
    ):
        cells = " | ".join(f"{reward:g}" for reward in rewards_J)
        assert f"| {group} | {size:.0f} | {cells} |" in PAGE


def test_the_table_of_payments_is_computed(example: ModuleType) -> None:
    found, values_N = example.payments(), example.worlds()[0].valuations_N
    for place, group in enumerate(example.GROUPS):
        figures = (values_N[place], found.payments_N[place], found.utilities_N[place])
        cells = " | ".join(f"{figure:.2f}" for figure in figures)
        assert f"| {group} | {example.GAME.sizes_N[place]:.0f} | {cells} |" in PAGE
    without, with_ = found.others_welfare_without_N[0], found.others_welfare_with_N[0]
    words = " ".join(PAGE.split())
    assert f"the others' welfare would be {without:.2f}; with them it is {with_:.2f}" in words


def test_the_shares_and_gains_in_words_are_computed(example: ModuleType) -> None:
    words = " ".join(PAGE.split())
    empty = example.ANSWERS.index("empty")
    base, tuned = np.exp(example.GAME.log_q_XJ[0]), np.exp(example.worlds()[0].log_policy_XJ[0])
    assert f"the empty answer in {base[empty]:.0%}".replace("%", " %") in words
    assert f"the model for all in {tuned[empty]:.0%}".replace("%", " %") in words
    answers = example.told()
    gains = answers[-1].gains(answers[example.SIZES.index(7)])
    most = example.SIZES[-1]
    assert f"{most} reported hosts would gain {gains['gain_without_payments']:.2f}" in words
    assert f"With payments {most} lose {-gains['gain']:.2f}" in words


def test_no_reported_size_gains_with_payments_and_each_larger_one_does_without(
    example: ModuleType,
) -> None:
    """What the third figure is there to show."""
    answers = example.told()
    honest = answers[example.SIZES.index(7)]
    gains = [answer.gains(honest) for answer in answers]
    assert max(gain["gain"] for gain in gains) == 0
    without = [gain["gain_without_payments"] for gain in gains]
    assert without == sorted(without)
