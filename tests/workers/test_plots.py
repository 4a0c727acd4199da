"""Figures are SVG with their numbers' labels, the same bytes for the same numbers."""

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from random_games import random_game

from api_schemas.audits import AuditLine, AuditResult
from workers import plots
from workers.mechanism.audit import Lie, Replay, Told
from workers.plots.incentives import MAX_GROUPS
from workers.plots.reward_drift import MAX_CURVES
from workers.plots.svg import BLUE, VERMILLION

RULES = [f"stroke: {colour.lower()}" for colour in (BLUE, VERMILLION)]
SVG = "{http://www.w3.org/2000/svg}"
LIES = [
    *(("inflate" if alpha > 1 else "deflate", alpha) for alpha in (0.5, 2.0, 4.0)),
    *(("sharpen", beta) for beta in (0.5, 2.0)),
    *(("oppose", beta) for beta in (0.5, 2.0)),
    ("spike", 1.0),
]
TO_RETRAIN = [("inflate", 4.0), ("spike", 1.0)]


def group_id(index: int) -> str:
    return f"grp_{chr(ord('a') + index) * 26}"


def line(index: int, strategy: str, parameter: float, told: Told, truth: Told) -> AuditLine:
    return AuditLine(
        group_id=group_id(index),
        strategy=strategy,
        parameter=parameter,
        reported_size=told.reported_size,
        valuation=told.valuation,
        payment=told.payment,
        utility=told.utility,
        utility_without_payments=told.utility_without_payments,
        gain=told.utility - truth.utility,
        gain_without_payments=told.utility_without_payments - truth.utility_without_payments,
    )


def audited(groups: int, retrain: Sequence[int] = (), truths: bool = True) -> AuditResult:
    """A real audit of groups of size 3, 4, 5 …; `retrain`: for whom models were trained anew."""
    game = random_game(seed=4, groups=groups, coefficient=4.0)
    game = replace(game, sizes_N=3.0 + np.arange(groups))
    truth, misreports, retrained = [], [], []
    for i in range(groups):
        replay = Replay(game, i, max_size=100)
        honest = replay.truth()
        lied = [
            line(i, strategy, parameter, told, honest)
            for strategy, parameter in LIES
            if (told := replay.tell(Lie(strategy, parameter))) is not None
        ]
        if i in retrain:
            retrained += [each for each in lied if (each.strategy, each.parameter) in TO_RETRAIN]
        if truths:
            truth.append(line(i, "truth", 1.0, honest, honest))
            misreports += lied
    gains = [each.gain for each in misreports] or [0.0]
    free = [each.gain_without_payments for each in misreports] or [0.0]
    return AuditResult(
        truth=truth,
        misreports=misreports,
        retrained=retrained,
        largest_gain=max(gains),
        largest_gain_without_payments=max(free),
        largest_gain_retrained=max((each.gain for each in retrained), default=None),
    )


def texts(svg: bytes) -> list[str]:
    """All that the figure says, in words that a reader can search."""
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    return ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]


def markers(svg: bytes) -> int:
    """Marks in the colour of either rule."""
    uses = ElementTree.fromstring(svg).iter(f"{SVG}use")
    return sum(each.get("style", "").lower().count(colour) for each in uses for colour in RULES)


NAMES = {group_id(0): "teachers", group_id(1): "hosts"}
FIGURES: dict[str, Callable[[], bytes]] = {
    "audit": lambda: plots.audit_figure(audited(2, retrain=[0]), NAMES, "An audit"),
    "incentives": lambda: plots.incentive_figure(
        {"sizes (3, 7)": audited(2), "sizes (7, 3)": audited(2)}, NAMES, "Three audits"
    ),
    "drift": lambda: plots.reward_drift_figure([plots.Curve("grand", [0.0, 0.5], [1.0, 2.0])]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_numbers_make_the_same_bytes(name: str) -> None:
    first = FIGURES[name]()
    assert first == FIGURES[name]()
    assert b"dc:date" not in first
    # Matplotlib's own ids are hashes of lengths, whose last bits are the processor's.
    assert re.findall(rb'(?:id="|url\(#|href="#)[a-z][0-9a-f]{10}\b', first) == []
    shapes = re.compile(rb'id="(shape_\d+)"').findall(first)
    assert len(shapes) == len(set(shapes)) > 0
    assert set(re.findall(rb'(?:url\(#|href="#)(shape_\d+)', first)) == set(shapes)


def test_an_audits_figure_names_groups_units_and_both_rules() -> None:
    found = texts(FIGURES["audit"]())
    assert found.count("teachers, size 3") == found.count("hosts, size 4") == 2
    assert {
        "An audit",
        "gain in utility",
        "(agent·reward units)",
        "α: reported size / true size",
        "β: exponent (sharpen) or weight (oppose)",
        "with payments",
        "without payments",
        "truth",
        "inflate, deflate",
        "sharpen",
        "oppose",
        "spike",
        "trained anew",
    } <= set(found)


def test_every_line_of_an_audit_is_a_mark_with_payments_and_without() -> None:
    without, with_ = audited(2), audited(2, retrain=[0])
    drawn = markers(plots.audit_figure(without, NAMES, "An audit"))
    more = markers(plots.audit_figure(with_, NAMES, "An audit"))
    # Four of size and three of `sharpen`, the truth among each, two of `oppose`, and the spike; for
    # two groups, twice; and two entries in the legend.
    assert drawn == 2 * 2 * (4 + 3 + 2 + 1) + 2
    assert more - drawn == 2 * len(with_.retrained) == 4
    fewer = without.model_copy(update={"misreports": without.misreports[1:]})
    assert drawn - markers(plots.audit_figure(fewer, NAMES, "An audit")) == 2


def test_without_names_the_groups_ids_stand_for_them() -> None:
    found = texts(plots.audit_figure(audited(1), None, "An audit"))
    assert f"{group_id(0)}, size 3" in found
    assert "trained anew" not in found


def test_of_many_groups_those_are_drawn_whom_lies_gain_most_and_the_title_says_so() -> None:
    result = audited(MAX_GROUPS + 2)
    gains = {
        each.group_id: max(
            lie.gain_without_payments for lie in result.misreports if lie.group_id == each.group_id
        )
        for each in result.truth
    }
    shown = sorted(gains, key=lambda group: -gains[group])[:MAX_GROUPS]
    found = texts(plots.audit_figure(result, None, "An audit"))
    assert f"the {MAX_GROUPS} of {MAX_GROUPS + 2} groups whom a lie gains most" in found
    headed = [each.split(",")[0] for each in found if each.startswith("grp_")]
    assert headed == [group for group in gains if group in shown for _ in range(2)]


def test_groups_for_whom_models_were_only_trained_anew_are_drawn_too() -> None:
    found = texts(plots.audit_figure(audited(2, retrain=[1], truths=False), NAMES, "An audit"))
    assert found.count("hosts") == 2
    assert "trained anew" in found


def test_a_name_is_shown_as_it_is_or_shortened_and_never_breaks_the_file() -> None:
    names = {group_id(0): r"$\alpha$ <&> \ufffe" + "\ufffe\ud7ff", group_id(1): "x" * 100}
    found = texts(plots.audit_figure(audited(2), names, "R&D <\ufffe>"))
    assert r"$\alpha$ <&> \ufffe" + "\ufffd\ud7ff, size 3" in found
    assert "x" * 39 + "…, size 4" in found
    assert "R&D <\ufffd>" in found


def test_audits_side_by_side_are_headed_by_their_names() -> None:
    found = texts(FIGURES["incentives"]())
    for label in ("sizes (3, 7)", "sizes (7, 3)"):
        for group in ("teachers, size 3", "hosts, size 4"):
            assert found.count(f"{label}: {group}") == 2
    assert found.count("gain in utility") == 4  # one on each row: sizes and rewards of two groups


def test_audits_that_do_not_compare_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not of the same groups: \{'a': 1, 'b': 2\}"):
        plots.incentive_figure({"a": audited(1), "b": audited(2)}, None, "none")
    with pytest.raises(ValueError, match="not of the same groups"):
        plots.incentive_figure({}, None, "none")
    with pytest.raises(ValueError, match="no audited group"):
        plots.audit_figure(audited(2, truths=False), None, "none")


@pytest.mark.parametrize(
    ("regularizer", "label"),
    [
        ("kl", "KL from the initial model (nats)"),
        ("l2", "L2 from the initial model (squared probability)"),
    ],
)
def test_reward_and_drift_name_every_training_and_their_units(regularizer: str, label: str) -> None:
    curves = [
        plots.Curve("grand", [0.0, 0.5, 0.4], [1.0, 2.0, 2.5]),
        plots.Curve("without teachers", [0.0, math.nan], [1.0, math.nan]),
        plots.Curve("not begun", [], []),
    ]
    found = texts(plots.reward_drift_figure(curves, regularizer))
    named = {"grand", "without teachers (1 of 2 steps without figures)", "not begun"}
    assert {label, "reward Σᵢ wᵢ vᵢ (agent·reward units)", "Reward and drift by step"} <= set(found)
    assert named <= set(found)


def test_no_more_trainings_are_drawn_than_can_be_told_apart_and_the_title_says_so() -> None:
    curves = [plots.Curve(f"run {i}", [0.0, 1.0], [0.0, float(i)]) for i in range(MAX_CURVES + 3)]
    found = texts(plots.reward_drift_figure(curves))
    assert f"Reward and drift by step, {MAX_CURVES} of {MAX_CURVES + 3} trainings" in found
    assert f"run {MAX_CURVES - 1}" in found
    assert f"run {MAX_CURVES}" not in found


def test_a_pareto_front_holds_the_steps_that_no_other_beats_in_both() -> None:
    rng = np.random.default_rng(0)
    points = [(float(d), float(r)) for d, r in rng.integers(0, 12, (60, 2))]
    expected = {
        (d, r)
        for d, r in points
        if not any((e <= d and s > r) or (e < d and s >= r) for e, s in points)
    }
    assert plots.pareto_front(points) == sorted(expected)
    assert plots.pareto_front([]) == []


def test_a_curve_of_two_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match="curve 'grand' has 2 divergences and 1 rewards"):
        plots.Curve("grand", [0.0, 1.0], [0.0])
