"""Draws the figures of for-groups.md: one question, four answers, three groups, exact optima.

Run it as `python docs/figures/for_groups.py`; a test compares what it draws with the files beside
it, and the page's numbers with what it computes.
"""

from pathlib import Path
from typing import Any

import numpy as np

from workers.mechanism.audit import Lie, Replay, Told
from workers.mechanism.closed_form import PoolOptimum, optimum
from workers.mechanism.payments import Payments, affine_maximizer
from workers.mechanism.worlds import PoolGame, WorldValues
from workers.plots.svg import BLACK, BLUE, COLOURS, GREY, VERMILLION, new_figure, style, to_svg

FOLDER = Path(__file__).parent
ANSWERS = ("plain", "warm", "exact", "empty")
GROUPS = ("hosts", "engineers", "clerks")
LIAR, SIZES = 0, tuple(range(1, 22))
"""The group of the third figure, and the sizes that it might report."""

GAME = PoolGame(
    log_q_XJ=np.log([[0.25, 0.2, 0.15, 0.4]]),
    prompt_weights_X=np.array([1.0]),
    coefficient=2.5,
    sizes_N=np.array([7.0, 5.0, 3.0]),
    rewards_NXJ=np.array([[[0.3, 1.0, 0.2, 0.0]], [[0.4, 0.0, 1.0, 0.1]], [[1.0, 0.0, 0.3, 0.6]]]),
)
"""What each group thinks of each answer, and how likely the base model gives it; λ = 2.5."""


def worlds() -> list[PoolOptimum]:
    """The best model for all groups, then for all but each."""
    return [optimum(GAME, world) for world in range(GAME.worlds)]


def payments() -> Payments:
    found = worlds()
    return affine_maximizer(
        GAME.sizes_N,
        WorldValues(
            valuations_WN=np.stack([world.valuations_N for world in found]),
            penalties_W=GAME.coefficient * np.array([world.divergence for world in found]),
        ),
    )


def told() -> list[Told]:
    """What each size that the liar might report brings it, by its true size and taste."""
    replay = Replay(GAME, LIAR, max(SIZES))
    true_size = float(GAME.sizes_N[LIAR])
    answers = [replay.tell(Lie("inflate", size / true_size)) for size in SIZES]
    return [replay.truth() if answer is None else answer for answer in answers]


def models_figure() -> bytes:
    """How likely each answer is, for the base model, all groups, and all but each."""
    names = ("base model", "for all", *(f"without the {group}" for group in GROUPS))
    policies = [np.exp(GAME.log_q_XJ[0]), *(np.exp(world.log_policy_XJ[0]) for world in worlds())]
    title = "How often each answer is given"
    with style():
        figure = new_figure(8.0, 3.4)
        axes = figure.subplots()
        for place, (name, policy_J) in enumerate(zip(names, policies, strict=True)):
            _stack(axes, place, policy_J)
            axes.text(-0.01, place, name, ha="right", va="center", transform=_rows(axes))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_yticks([])
        axes.set_xlabel("share of answers")
        axes.set_title(title)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return to_svg(figure, title)


def payments_figure() -> bytes:
    """The others' welfare without a group and with it; the difference is what it pays."""
    found = payments()
    title = "What the others lose by your being there is what you pay"
    with style():
        figure = new_figure(8.0, 2.8)
        axes = figure.subplots()
        for place, group in enumerate(GROUPS):
            without = found.others_welfare_without_N[place]
            with_ = found.others_welfare_with_N[place]
            first = place == 0
            axes.plot([with_, without], [place, place], color=VERMILLION, linewidth=4, zorder=1)
            axes.plot(with_, place, "o", color=BLACK, label="with you" if first else None)
            axes.plot(without, place, "s", color=BLUE, label="without you" if first else None)
            paid = f"pay {found.payments_N[place]:.2f}"
            axes.text((with_ + without) / 2, place - 0.16, paid, ha="center", va="bottom")
            axes.text(-0.01, place, group, ha="right", va="center", transform=_rows(axes))
        axes.set_ylim(len(GROUPS) - 0.5, -0.7)
        axes.set_yticks([])
        axes.set_xlabel("welfare of the others (agent·reward units)")
        axes.set_title(title)
        axes.legend(frameon=False)
        return to_svg(figure, title)


def lies_figure() -> bytes:
    """What the liar is left with, by the size that it reports, with payments and without."""
    answers, true_size = told(), int(GAME.sizes_N[LIAR])
    title = f"What {true_size} {GROUPS[LIAR]} gain by reporting another size"
    honest = answers[SIZES.index(true_size)]
    gains = [answer.gains(honest) for answer in answers]
    with style():
        figure = new_figure(8.0, 3.4)
        axes = figure.subplots()
        without = [gain["gain_without_payments"] for gain in gains]
        axes.plot(SIZES, without, "s--", color=VERMILLION, markersize=4, label="without payments")
        axes.plot(SIZES, [gain["gain"] for gain in gains], "o-", color=BLUE, label="with payments")
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.axvline(true_size, color=GREY, linewidth=0.8, linestyle=":")
        axes.text(true_size + 0.15, min(without), "the truth", color=GREY)
        axes.set_xticks(SIZES[::2])
        axes.set_xlabel("reported size")
        axes.set_ylabel("gain (agent·reward units)")
        axes.set_title(title)
        axes.legend(frameon=False)
        return to_svg(figure, title)


FIGURES = {
    "worlds.svg": models_figure,
    "payments.svg": payments_figure,
    "lies.svg": lies_figure,
}


def _stack(axes: Any, place: int, policy_J: Any) -> None:
    left = 0.0
    for answer, share, colour in zip(ANSWERS, policy_J, COLOURS, strict=False):
        label = answer if place == 0 else None
        axes.barh(place, share, 0.7, left, color=colour, edgecolor="white", label=label)
        if share >= 0.06:
            middle = left + share / 2
            ink = "white" if colour in (BLUE, VERMILLION) else BLACK
            axes.text(middle, place, f"{share:.0%}", ha="center", va="center", color=ink)
        left += share


def _rows(axes: Any) -> Any:
    """Across as a share of the axes, down in their own units."""
    return axes.get_yaxis_transform()


if __name__ == "__main__":
    for name, draw in FIGURES.items():
        (FOLDER / name).write_bytes(draw())
    found = payments()
    for group, size, value, paid, left in zip(
        GROUPS,
        GAME.sizes_N,
        worlds()[0].valuations_N,
        found.payments_N,
        found.utilities_N,
        strict=True,
    ):
        print(f"| {group} | {size:.0f} | {value:.2f} | {paid:.2f} | {left:.2f} |")
