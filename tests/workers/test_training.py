"""Training on the enumerable model, judged by true expectations over all its responses."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TinyRound

from workers.mechanism import closed_form, payments
from workers.stages.context import TaskContext
from workers.stages.solve import load_game
from workers.stages.train import make_task
from workers.tensors import pack, unpack
from workers.training import checkpoints
from workers.training.objective import clip_by_world, leave_one_out_advantages, returns_to_go
from workers.training.shares import Alone
from workers.training.train_worlds import StepReport, WorldsTrainer

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


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[WorldsTrainer]:
    with closing(make_trainer(tmp_path)) as made:
        yield made


def make_trainer(folder: Path, **changes: object) -> WorldsTrainer:
    settings = {**SETTINGS, "steps": 8, "evaluate_every": 2, "samples_per_prompt": 16, **changes}
    made = TinyRound(folder, training=settings)
    made.run("fit_rewards", "sample_pool", "score")
    context = TaskContext(made.job, made.artifacts, made.events.append)
    _, task = make_task(context, made.digests)
    return WorldsTrainer(context.base_model(), task, Alone())


def test_a_training_resumed_from_its_state_ends_with_the_same_bits(tmp_path: Path) -> None:
    with closing(make_trainer(tmp_path)) as undisturbed:
        states = []
        reports = list(
            undisturbed.train(lambda: states.append(pack(*checkpoints.state(undisturbed))))
        )
        expected = pack(*checkpoints.state(undisturbed))
    with closing(make_trainer(tmp_path)) as resumed:
        checkpoints.restore(resumed, *unpack(states[1]))
        assert resumed.step == 4
        rest = list(resumed.train())
        assert pack(*checkpoints.state(resumed)) == expected
    assert rest == reports[-len(rest) :]


def test_a_world_that_stops_leaves_the_others_as_they_would_be(tmp_path: Path) -> None:
    """Its rows leave the batch; the other worlds' rollouts and gradients stay their own."""
    with closing(make_trainer(tmp_path)) as all_train:
        list(all_train.train())
        expected = all_train.adapters.world_state(2)
    with closing(make_trainer(tmp_path)) as some_train:
        some_train.records[0].stopped = True
        list(some_train.train())
        found = some_train.adapters.world_state(2)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-4)


def test_training_stops_when_no_world_improves(tmp_path: Path) -> None:
    with closing(make_trainer(tmp_path, steps=100, learning_rate=1.0, patience=2)) as made:
        steps = [report.step for report in made.train()]
    assert max(steps) < 20


def test_the_gradient_is_that_of_welfare(tmp_path: Path) -> None:
    """Many samples' mean gradient against the exact one, by enumeration, of the grand world."""
    with closing(make_trainer(tmp_path, samples_per_prompt=2048)) as made:
        _perturb(made)
        prompts = [0, 1, 2, 3]
        rollouts = made._sample(prompts)
        made._gradient(prompts, rollouts, made._score(prompts, rollouts))
        sampled = torch.cat([p.grad[0].flatten() for p in made.parameters if p.grad is not None])
        exact = _exact_gradient(made)
    cosine = torch.nn.functional.cosine_similarity(sampled.double(), exact.double(), dim=0)
    assert float(cosine) > 0.98
    assert float(sampled.norm() / exact.norm()) == pytest.approx(1, abs=0.1)


def _perturb(trainer: WorldsTrainer) -> None:
    """Away from the initial model, where the KL term has a gradient too."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trainer.adapters.b.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def _exact_gradient(trainer: WorldsTrainer) -> torch.Tensor:
    """Of −(E S − λ KL) by autograd through the probabilities of all responses."""
    task, base = trainer.task, trainer.base
    pool = task.holdout  # an enumerated pool is its own held-out pool
    welfare = torch.from_numpy(np.einsum("n,nxj->xj", task.weights_WN[0], task.holdout_rewards_NXJ))
    for parameter in trainer.parameters:
        parameter.grad = None
    total = torch.zeros((), dtype=torch.float64)
    with trainer.adapters.select([0]):
        for x, prompt in enumerate(pool.prompt_tokens):
            count = len(pool.lengths_XJ[x])
            tokens = torch.cat([torch.tensor(prompt).expand(count, -1), pool.tokens_XJT[x]], 1)
            log_probs = base.model(input_ids=tokens).logits.double().log_softmax(-1)
            chosen = log_probs[:, len(prompt) - 1 : -1].gather(-1, pool.tokens_XJT[x][..., None])
            valid = torch.arange(chosen.shape[1]) < pool.lengths_XJ[x][:, None]
            log_p = (chosen[..., 0] * valid).sum(-1)
            gain = welfare[x] - task.coefficient * (log_p - torch.from_numpy(pool.log_q_XJ[x]))
            total = total - task.prompt_weights_X[x] * (log_p.exp() * gain).sum()
    total.backward()  # type: ignore[no-untyped-call]
    return torch.cat([p.grad[0].flatten() for p in trainer.parameters if p.grad is not None])


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


def test_a_step_s_report_names_the_worlds_that_took_part(trainer: WorldsTrainer) -> None:
    first = next(trainer.train())
    assert isinstance(first, StepReport)
    assert first.worlds == [0, 1, 2, 3]
    assert first.kl == pytest.approx([0.0] * 4, abs=1e-5)
