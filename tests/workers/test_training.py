"""Training on the enumerable model, judged by true expectations over all its responses."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import TinyRound
from training_support import (
    Tastes,
    policy_gradient,
    pool_gradient,
    shares_of_the_possible_gain,
    tiny_base,
    tiny_task,
    training,
)

from api_schemas.training import PolicyGradient, PoolGradient
from workers.mechanism import closed_form, payments
from workers.pool.pool import response_texts
from workers.pool.sampling import Rollouts
from workers.stages.solve import load_game
from workers.tensors import pack, unpack
from workers.training import checkpoints
from workers.training.objective import (
    PROMPT_LOSSES,
    clip_by_world,
    leave_one_out_advantages,
    returns_to_go,
)
from workers.training.policy_gradient import PolicyGradientTrainer
from workers.training.train_worlds import WorldsTrainer

SETTINGS = {
    "steps": 200,
    "prompts_per_step": 4,
    "samples_per_prompt": 64,
    "learning_rate": 0.005,
    "evaluate_every": 25,
    "patience": 100,
    "top_layers": None,
}


@pytest.fixture(scope="module", params=[0.5, 2.0], ids=["lambda=0.5", "lambda=2"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyRound:
    """A whole round of three groups, at one KL coefficient."""
    made = TinyRound(
        tmp_path_factory.mktemp("artifacts"),
        regularizer={"coefficient": request.param},
        training=SETTINGS,
    )
    made.run()
    return made


def test_every_world_reaches_at_least_80_percent_of_the_possible_gain(trained: TinyRound) -> None:
    shares = {
        world.world: (world.welfare - world.welfare_initial)
        / (world.welfare_optimum - world.welfare_initial)
        for world in trained.outcome().outcome.worlds
    }
    print(f"\nshares of the possible gain: {shares}")
    assert len(shares) == 4
    assert min(shares.values()) >= 0.8
    assert max(shares.values()) <= 1.0


def test_payments_by_retraining_are_within_15_percent_of_the_closed_form_s(
    trained: TinyRound,
) -> None:
    game, _ = load_game(trained.context())
    exact_N = payments.affine_maximizer(game.sizes_N, closed_form.solve(game).values).payments_N
    paid_N = [group.payment for group in trained.outcome().outcome.groups]
    print(f"\npayments {paid_N}, exact {exact_N}")
    np.testing.assert_allclose(paid_N, exact_N, rtol=0.15)


def test_fresh_samples_agree_with_the_pool_within_four_standard_errors(
    trained: TinyRound,
) -> None:
    outcome = trained.outcome().outcome
    fresh = outcome.fresh
    assert fresh is not None
    error = fresh.welfare_standard_error
    assert abs(fresh.welfare - outcome.delivered.welfare) < 4 * error
    assert fresh.welfare_initial == pytest.approx(outcome.delivered.welfare_initial)
    assert fresh.welfare_initial_standard_error == 0  # the pool is the whole output space


METHODS = pytest.mark.parametrize("settings", [policy_gradient(), pool_gradient()])
RESETS = {"every": 3, "decay": 0.5}


@pytest.mark.parametrize("coefficient", [2.0, pytest.param(20.0, marks=pytest.mark.slow)])
def test_every_world_reaches_at_least_80_percent_of_the_possible_gain_under_l2(
    coefficient: float,
) -> None:
    settings = policy_gradient(**{**SETTINGS, "steps": 120, "samples_per_prompt": 32})
    with training(tiny_task(settings, regularizer="l2", coefficient=coefficient)) as trainer:
        list(trainer.train())
        shares = shares_of_the_possible_gain(trainer)
    print(f"\nshares of the possible gain: {shares}")
    assert min(shares) >= 0.8
    assert max(shares) <= 1.0


@pytest.mark.parametrize(
    "settings",
    [policy_gradient(), policy_gradient(elastic_reset=RESETS), pool_gradient()],
    ids=["policy_gradient", "elastic_reset", "pool_gradient"],
)
def test_a_training_resumed_from_its_state_ends_with_the_same_bits(
    settings: PolicyGradient | PoolGradient,
) -> None:
    task = tiny_task(settings, steps_W=[8, 5, 8, 8], keep_checkpoints=True)
    with training(task) as undisturbed:
        states: list[bytes] = []
        reports = list(
            undisturbed.train(lambda: states.append(pack(*checkpoints.state(undisturbed))))
        )
        expected = pack(*checkpoints.state(undisturbed))
    with training(task) as resumed:
        checkpoints.restore(resumed, *unpack(states[1]))
        assert resumed.step == 4
        rest = list(resumed.train())
        assert pack(*checkpoints.state(resumed)) == expected
        assert resumed.records[1].history == undisturbed.records[1].history
    assert rest == reports[-len(rest) :]


@METHODS
def test_nothing_of_a_group_reaches_the_world_without_it(
    settings: PolicyGradient | PoolGradient,
) -> None:
    """Same bits, though the group's failures poison and stop all other worlds."""
    states = []
    for failing in ((), (0,)):
        with training(tiny_task(settings, score=Tastes(failing))) as trainer:
            reports = list(trainer.train())
            states.append([trainer.adapters.world_state(world) for world in range(4)])
            stopped = [report.worlds for report in reports if report.step == settings.steps]
    assert stopped == [[1], [1]]  # of the last run: the worlds with the group have stopped
    for name, tensor in states[0][1].items():
        assert torch.equal(states[1][1][name], tensor), name
    assert any(not torch.equal(states[1][0][name], t) for name, t in states[0][0].items())


def test_only_the_groups_of_a_world_score_its_responses() -> None:
    score = Tastes()
    with training(tiny_task(policy_gradient(), score=score)) as trainer:
        assert isinstance(trainer, PolicyGradientTrainer)
        drawn: list[Rollouts] = []
        draw = trainer._sample
        trainer._sample = lambda prompts: drawn.append(draw(prompts)) or drawn[-1]  # type: ignore
        for _ in range(2):
            next(trainer.train())
        texts = [
            response_texts(trainer.base, each.tokens_KPJT[k].flatten(0, 1), lengths.flatten())
            for each in drawn
            for k, lengths in enumerate(each.lengths_KPJ)
        ]
    assert score.asked == list(zip([[0, 1, 2], [1, 2], [0, 2], [0, 1]] * 2, texts, strict=True))
    assert texts[4] != texts[5]  # the second step's worlds differ, so that a mix-up would show


@METHODS
def test_a_world_that_stops_changes_no_bit_of_the_others(
    settings: PolicyGradient | PoolGradient,
) -> None:
    with training(tiny_task(settings)) as all_train:
        list(all_train.train())
        expected = all_train.adapters.world_state(2)
    with training(tiny_task(settings)) as some_train:
        some_train.records[0].stopped = True
        reports = list(some_train.train())
        found = some_train.adapters.world_state(2)
    assert all(report.worlds == [1, 2, 3] for report in reports)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@METHODS
def test_a_world_trains_as_long_as_its_budget_on_the_schedule_of_all(
    settings: PolicyGradient | PoolGradient,
) -> None:
    with training(tiny_task(settings, keep_checkpoints=True)) as whole:
        list(whole.train())
    with training(tiny_task(settings, steps_W=[8, 4, 8, 3], keep_checkpoints=True)) as made:
        reports = list(made.train())
    steps = [report.worlds for report in reports if report.kind != "holdout"]
    assert steps == [[0, 1, 2, 3]] * 3 + [[0, 1, 2]] + [[0, 2]] * 4
    assert [e.step for e in made.records[3].history] == [0, 2, 3]
    assert made.records[1].stopped
    assert made.records[1].history == whole.records[1].history[:3]
    same = zip(made.records[1].checkpoints, whole.records[1].checkpoints, strict=False)
    for (step, state), (other_step, other) in same:
        assert step == other_step
        assert all(torch.equal(state[name], other[name]) for name in state)


def test_kept_checkpoints_are_the_states_that_were_valued() -> None:
    with training(tiny_task(policy_gradient(), keep_checkpoints=True)) as made:
        list(made.train())
        for world, record in enumerate(made.records):
            assert [step for step, _ in record.checkpoints] == [2, 4, 6, 8]
            for (step, state), found in zip(record.checkpoints, record.history[1:], strict=True):
                made.adapters.load_world_state(world, state)
                ratio_XJ = made.holdout([world])[0] - made.holdout([None])[0]
                worth = made._held_out_worth(world, ratio_XJ.numpy())
                assert found.step == step
                assert worth.welfare == pytest.approx(found.welfare, abs=1e-5)
    with training(tiny_task(policy_gradient())) as made:
        list(made.train())
        assert all(record.checkpoints == [] for record in made.records)


def test_history_holds_reward_and_divergence_from_the_initial_model_on() -> None:
    with training(tiny_task(policy_gradient())) as made:
        reports = [report for report in made.train() if report.kind == "holdout"]
        first, *later = made.records[2].history
    assert (first.step, first.divergence) == (0, 0)
    assert first.reward == first.welfare
    assert [e.reward for e in later] == [report.reward[2] for report in reports]
    assert [e.divergence for e in later] == [report.divergence[2] for report in reports]
    for each in later:
        assert each.welfare == pytest.approx(each.reward - 2.0 * each.divergence)


def test_training_stops_when_no_world_improves() -> None:
    settings = policy_gradient(steps=100, learning_rate=1.0, patience=2)
    with training(tiny_task(settings)) as made:
        steps = [report.step for report in made.train()]
    assert max(steps) < 20


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
def test_the_gradient_is_that_of_welfare(regularizer: str) -> None:
    """Many samples' mean gradient against the exact one, by enumeration, of the grand world."""
    task = tiny_task(policy_gradient(samples_per_prompt=2048), regularizer=regularizer)
    with training(task) as made:
        assert isinstance(made, PolicyGradientTrainer)
        perturb(made)
        prompts = [0, 1, 2, 3]
        rollouts = made._sample(prompts)
        worth = made._gradient(prompts, rollouts, made._score(prompts, rollouts))
        sampled = torch.cat([p.grad[0].flatten() for p in made.parameters if p.grad is not None])
        exact, divergence = _exact_gradient(made)
    cosine = torch.nn.functional.cosine_similarity(sampled.double(), exact.double(), dim=0)
    assert float(cosine) > 0.98
    assert float(sampled.norm() / exact.norm()) == pytest.approx(1, abs=0.1)
    assert worth[0].divergence == pytest.approx(divergence, rel=0.15)


def perturb(trainer: WorldsTrainer) -> None:
    """Away from the initial model, where the divergence has a gradient too."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trainer.adapters.b.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def _exact_gradient(trainer: WorldsTrainer) -> tuple[torch.Tensor, float]:
    """Of −(E S − λ D) by autograd through the probabilities of all responses; and D."""
    task, base = trainer.task, trainer.base
    pool = task.pool
    welfare = torch.from_numpy(np.einsum("n,nxj->xj", task.weights_WN[0], task.pool_rewards_NXJ))
    for parameter in trainer.parameters:
        parameter.grad = None
    total = divergence = torch.zeros((), dtype=torch.float64)
    with trainer.adapters.select([0]):
        for x, prompt in enumerate(pool.prompt_tokens):
            count = len(pool.lengths_XJ[x])
            tokens = torch.cat([torch.tensor(prompt).expand(count, -1), pool.tokens_XJT[x]], 1)
            log_probs = base.model(input_ids=tokens).logits.double().log_softmax(-1)
            chosen = log_probs[:, len(prompt) - 1 : -1].gather(-1, pool.tokens_XJT[x][..., None])
            valid = torch.arange(chosen.shape[1]) < pool.lengths_XJ[x][:, None]
            log_p, log_q = (chosen[..., 0] * valid).sum(-1), torch.from_numpy(pool.log_q_XJ[x])
            distance = {
                "kl": (log_p.exp() * (log_p - log_q)).sum(),
                "l2": (log_p.exp() - log_q.exp()).square().sum(),
            }[task.regularizer]
            total = total - task.prompt_weights_X[x] * (log_p.exp() * welfare[x]).sum()
            divergence = divergence + task.prompt_weights_X[x] * distance
    (total + task.coefficient * divergence).backward()  # type: ignore[no-untyped-call]
    gradient = torch.cat([p.grad[0].flatten() for p in trainer.parameters if p.grad is not None])
    return gradient, float(divergence.detach())


def test_a_response_that_a_reward_model_fails_on_moves_nothing() -> None:
    tokens, lengths = torch.tensor([[1, 2], [2, 0], [0, 1]]), torch.tensor([2, 1, 2])
    for loss in PROMPT_LOSSES.values():
        gradients = []
        for failed in (0.0, float("nan")):
            logits = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
            base_logits = logits.flip(0).clone()
            logits.requires_grad_()
            welfare = torch.tensor([1.0, 3.0, failed])
            value, _ = loss(logits, base_logits, tokens, lengths, welfare, 0.5)
            value.backward()  # type: ignore[no-untyped-call]
            assert logits.grad is not None
            gradients.append(logits.grad)
        assert (gradients[1][2] == 0).all()
        assert (gradients[1][:2] != 0).any()
        assert (gradients[0][2] != 0).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps_W": [8, 8, 8]}, "expected 4 budgets from 1 to 8"),
        ({"steps_W": [8, 8, 8, 9]}, "expected 4 budgets from 1 to 8"),
        ({"weights_WN": np.array([[1.0, 0, 0], [0, 0, 0]])}, "without any group"),
        ({"weights_WN": np.array([[1.0, -1, 0]])}, r"weights_WN\[0, 1\] = -1.0 is no weight"),
        ({"pool_rewards_NXJ": np.zeros((2, 4, 156))}, r"expected \(3, 4, 156\)"),
        ({"prompt_tokens": [[1]]}, "4 prompts, 1 of them as tokens"),
    ],
)
def test_a_task_whose_parts_disagree_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_task(policy_gradient(), **changes)


def test_a_trainer_refuses_another_method_s_settings() -> None:
    with pytest.raises(ValueError, match="can't train as 'pool_gradient' announces"):
        PolicyGradientTrainer(tiny_base(), tiny_task(pool_gradient()))


def test_returns_to_go_leave_out_the_kl_already_paid() -> None:
    welfare = torch.tensor([5.0])
    kl = torch.tensor([[1.0, 2.0, 4.0]])
    expected = torch.tensor([[5 - 0.5 * 6, 5 - 0.5 * 4, 5.0]])
    torch.testing.assert_close(returns_to_go(welfare, kl, 0.5), expected)


def test_an_unusable_response_touches_no_other_response_s_advantage() -> None:
    returns = torch.tensor([[1.0], [3.0], [float("nan")]])
    usable = torch.tensor([True, True, False])
    expected = torch.tensor([[-2.0], [2.0], [0.0]])
    torch.testing.assert_close(leave_one_out_advantages(returns, usable), expected)


def test_gradients_are_clipped_world_by_world() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2, 3))
    parameter.grad = torch.tensor([[3.0, 4.0, 0.0], [0.3, 0.4, 0.0]])
    norms = clip_by_world([parameter], 1.0)
    torch.testing.assert_close(norms, torch.tensor([5.0, 0.5]))
    torch.testing.assert_close(parameter.grad, torch.tensor([[0.6, 0.8, 0.0], [0.3, 0.4, 0.0]]))


@METHODS
def test_a_step_s_report_names_the_worlds_that_took_part(
    settings: PolicyGradient | PoolGradient,
) -> None:
    with training(tiny_task(settings)) as trainer:
        first = next(trainer.train())
    assert first.kind in ("rollouts", "pool")
    assert first.worlds == [0, 1, 2, 3]
    assert first.divergence == pytest.approx([0.0] * 4, abs=1e-5)
    assert first.welfare == pytest.approx(first.reward, abs=1e-4)
