"""Pairwise calibrated rewards: members that disagree as the voters do."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from embedding_support import TINY, figures, fit, halves, needs_minilm, planted, random_texts

from workers.preferences.comparison import Comparison, Split
from workers.reward_training.stagewise import best_step
from workers.rewards.interfaces import HasMembers
from workers.rewards.pairwise_calibrated import PairwiseCalibratedReward
from workers.rewards.registry import FittedRewardModel

ARGUMENTS = Path(__file__).parents[2] / ".." / "shared" / "data" / "ukpconvarg"


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUTHTUNE_MODEL_CACHE", str(tmp_path_factory.mktemp("models")))
        yield


def two_factions(count: int, seed: int, majority: float = 0.7) -> list[Comparison]:
    """Votes of 70 % who like suns and 30 % who like rain; no pair leaves either indifferent."""
    random = np.random.default_rng(seed)
    found: list[Comparison] = []
    while len(found) < count:
        first, second = random_texts(2, random)
        suns, rain = (first.count(w) - second.count(w) for w in ("sun", "rain"))
        if not suns or not rain:
            continue
        share = majority * (suns > 0) + (1 - majority) * (rain > 0)
        better, worse = (first, second) if share > 0.5 else (second, first)
        found.append(Comparison(f"p{len(found)}", better, worse, max(share, 1 - share), votes=10))
    return found


def test_two_factions_are_recovered_which_no_single_model_can() -> None:
    pairs = two_factions(1000, seed=0)
    held_out = pairs[850:]
    done = fit(
        halves(pairs, 850),
        name="pairwise_calibrated",
        encoder=TINY,
        hidden=[64],
        members=2,
        curve_to=2,
    )
    model = done.measured
    assert isinstance(model, PairwiseCalibratedReward)
    np.testing.assert_allclose(model.weights_M, [0.7, 0.3], atol=0.05)
    shares = np.array([pair.share for pair in held_out])
    disputed = shares < 1
    assert 0.2 < disputed.mean() < 0.8
    assert model.shares(held_out)[disputed].mean() == pytest.approx(0.7, abs=0.06)
    assert model.shares(held_out)[~disputed].mean() == pytest.approx(1.0, abs=0.05)
    # One model says 1 where 0.7 is true, at best: 0.09 for each disputed pair.
    best_single = 0.09 * disputed.mean()
    told = figures(done)
    assert told["calibration_error"] < 0.6 * best_single
    assert told["calibration_error_of_bt_mlp"] >= best_single - 1e-9
    (curve,) = done.curves
    assert curve.series[0].y[1] == pytest.approx(told["calibration_error"])
    assert curve.series[0].y[0] >= best_single - 1e-9


def test_without_dispute_the_members_agree() -> None:
    pairs = planted(300, seed=0)
    done = fit(halves(pairs, 220), name="pairwise_calibrated", encoder=TINY)
    model = done.measured
    assert isinstance(model, PairwiseCalibratedReward)
    assert (model.shares(pairs[220:]) > 0.9).mean() > 0.9


def test_the_score_is_the_weighted_mean_of_the_members_that_a_mixture_enters_with() -> None:
    pairs = two_factions(150, seed=1)
    model = fit(Split(pairs, []), name="pairwise_calibrated", encoder=TINY, members=3).model
    assert isinstance(model, HasMembers)
    texts = ["sun sun rain", "rain", "red", ""]
    found = model.member_scores(["p"] * 4, texts)
    assert found.weights_M.sum() == pytest.approx(1)
    assert (found.weights_M > 0).all()
    np.testing.assert_allclose(model.score(["p"] * 4, texts), found.weights_M @ found.scores_MJ)
    assert model.score([], []).shape == (0,)


def test_a_model_read_back_scores_exactly_as_before_and_fitting_repeats_itself() -> None:
    pairs = two_factions(120, seed=2)
    settings = {"name": "pairwise_calibrated", "encoder": TINY, "members": 2, "curve_to": 1}
    done, again = (fit(halves(pairs, 90), **settings) for _ in range(2))
    saved = FittedRewardModel("pairwise_calibrated", done.model, None).to_bytes()
    assert FittedRewardModel("pairwise_calibrated", again.model, None).to_bytes() == saved
    assert again.figures == done.figures
    restored = FittedRewardModel.from_bytes(saved)
    texts = [pair.chosen for pair in pairs]
    np.testing.assert_array_equal(
        restored.score(["p"] * len(texts), texts), done.model.score(["p"] * len(texts), texts)
    )
    other = fit(halves(pairs, 90), **settings, seed=1).model
    assert FittedRewardModel("pairwise_calibrated", other, None).to_bytes() != saved


def test_members_from_either_side_of_a_pair_share_out_the_votes() -> None:
    pairs = two_factions(120, seed=3)
    model = fit(Split(pairs, []), name="pairwise_calibrated", encoder=TINY, members=2).model
    assert isinstance(model, PairwiseCalibratedReward)
    other_side = [Comparison(p.prompt, p.rejected, p.chosen) for p in pairs]
    np.testing.assert_allclose(model.shares(pairs) + model.shares(other_side), 1)


def test_the_step_is_the_best_of_all_between_0_and_1() -> None:
    random = np.random.default_rng(0)
    grid = np.linspace(0, 1, 1001)
    for _ in range(50):
        shares, before = random.uniform(0, 1, (2, 12))
        votes = random.integers(0, 2, 12).astype(float)
        errors = [np.sum(((1 - a) * before + a * votes - shares) ** 2) for a in grid]
        assert best_step(shares, before, votes) == pytest.approx(grid[np.argmin(errors)], abs=1e-3)
    assert best_step(shares, votes, votes) == 0.0


def test_the_curve_has_a_value_for_every_k_also_when_no_more_members_help() -> None:
    done = fit(
        halves(planted(120, seed=4), 90),
        name="pairwise_calibrated",
        encoder=TINY,
        members=1,
        curve_to=8,
    )
    (curve,) = done.curves
    assert curve.x == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all(len(series.y) == 8 for series in curve.series)
    assert curve.series[0].y[0] == pytest.approx(figures(done)["calibration_error"])


@needs_minilm
@pytest.mark.skipif(not ARGUMENTS.exists(), reason=f"no UKPConvArg data in {ARGUMENTS}")
def test_on_the_votes_of_arguments_a_few_members_err_less_than_one_model() -> None:
    """Arguments are held out, whole; splits overlap, so the standard error is a rough one."""
    pairs = _arguments()
    gains: dict[int, list[float]] = {k: [] for k in (2, 3, 4)}
    for seed in range(5):
        split = _by_argument(pairs, seed)
        done = fit(
            split,
            "all-minilm-l6-v2",
            name="pairwise_calibrated",
            curve_to=4,
            seed=seed,
        )
        single = figures(done)["calibration_error_of_bt_mlp"]
        for k, found in gains.items():
            found.append(single - done.curves[0].series[0].y[k - 1])
    for k, found in gains.items():
        error = np.std(found, ddof=1) / np.sqrt(len(found))
        assert np.mean(found) > error, (k, found)


def _arguments() -> list[Comparison]:
    import xml.etree.ElementTree as ElementTree

    (file,) = ARGUMENTS.glob("*.xml")
    found = []
    for node in ElementTree.parse(file).getroot():
        texts = [node.findtext(f"{name}/text", "").strip() for name in ("arg1", "arg2")]
        votes = [value.text for value in node.findall("mTurkAssignments//value")]
        share = np.mean([{"a1": 1.0, "a2": 0.0, "equal": 0.5}[str(vote)] for vote in votes])
        better, worse = texts if share >= 0.5 else texts[::-1]
        found.append(Comparison("TV or books?", better, worse, max(share, 1 - share), len(votes)))
    return found


def _by_argument(pairs: list[Comparison], seed: int) -> Split:
    arguments = sorted(set(itertools.chain(*((p.chosen, p.rejected) for p in pairs))))
    order = np.random.default_rng(seed).permutation(len(arguments))
    held_out = {arguments[place] for place in order[: round(0.4 * len(arguments))]}
    train = [p for p in pairs if not {p.chosen, p.rejected} & held_out]
    return Split(train, [p for p in pairs if {p.chosen, p.rejected} <= held_out])
