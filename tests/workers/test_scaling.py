"""The cost model: its operations are those that are counted, its limits and fits are right."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from api_schemas.datasets import PromptLine
from api_schemas.rounds import RoundCreate
from benchmarks.scaling import limits, memory, passes
from benchmarks.scaling.devices import Device, core
from benchmarks.scaling.fit import least_relative_squares
from benchmarks.scaling.passes import (
    MAX_ROWS,
    ROW_TOKENS,
    Adapters,
    Packed,
    Work,
    drawing,
    gradient,
    log_probabilities,
    response_gradients,
    rollouts,
)
from benchmarks.scaling.shapes import LLAMA_8B, LLAMA_70B, SMOLLM2, TINY, of_config
from benchmarks.scaling.stages import RoundSize, stages, train
from workers import base_models
from workers.base_models import BaseModel
from workers.decoder import Decoder, PackedRows, PromptRows
from workers.pool import logprobs, refill, sampling
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.pool import sample_pool
from workers.pool.sampling import sample
from workers.quoting.plan import plan
from workers.quoting.trial import Size, trial
from workers.training import response_gradients as response_gradients_of_a_pool
from workers.training.response_gradients import ResponseGradients
from workers.training.stacked_lora import StackedAdapters

PROMPT, TOKENS, RESPONSES, WORLDS = [1, 2, 3, 4, 5], 6, 4, 3
NEVER_ENDING = 0.99
"""The draw that gives the last word, never the end: every response has all its tokens."""


@pytest.fixture(scope="module")
def base() -> BaseModel:
    found = base_models.resolve("tiny-enumerable")
    return base_models.load(found.name, found.revision, "cpu")


@pytest.fixture
def adapters(base: BaseModel) -> Iterator[StackedAdapters]:
    """Of rank 2 on the top one of two layers."""
    with closing(
        StackedAdapters(base.model, worlds=WORLDS, rank=2, scaling=1.0, top_layers=1, seed=0)
    ) as made:
        yield made


TUNED = Adapters(rank=2, layers=1)


class _Counter(TorchDispatchMode):
    """torch's own formulas, without its hooks on modules, which fail at gradients within."""

    operations = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        formula = flop_registry.get(function.overloadpacket)
        if formula is not None:
            self.operations += formula(*args, **(kwargs or {}), out_val=out)
        return out


def counted(work: Callable[[], Any]) -> int:
    """Operations of matrix products; attention's too, which the fused kernels would hide."""
    with sdpa_kernel([SDPBackend.MATH]), _Counter() as counter:
        work()
    return counter.operations


def test_a_shape_is_that_of_the_model(base: BaseModel) -> None:
    assert of_config("tiny-enumerable", base.model.config) == TINY
    assert TINY.parameters == sum(each.numel() for each in base.model.parameters())


def test_published_models_have_the_weights_that_are_published() -> None:
    assert SMOLLM2.parameters == 134_515_008
    assert LLAMA_8B.parameters == 8_030_261_248
    assert LLAMA_70B.parameters == 70_553_706_496


def test_rows_are_as_long_as_in_the_code() -> None:
    assert (MAX_ROWS, ROW_TOKENS) == (sampling.MAX_ROWS, logprobs.ROW_TOKENS)
    assert passes.PREFILL_TOKENS == refill._PREFILL_TOKENS
    assert limits.KEPT_BYTES == response_gradients_of_a_pool.KEPT_BYTES


@pytest.mark.parametrize("rows", [2, 5, MAX_ROWS])
def test_drawing_takes_the_operations_that_are_counted(
    base: BaseModel, adapters: StackedAdapters, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are filled again and such that are not; 12 responses."""
    monkeypatch.setattr(passes, "MAX_ROWS", rows)
    draws_JT = torch.full((RESPONSES, TOKENS), NEVER_ENDING)
    drawn = partial(
        refill.draw,
        Decoder(base.model),
        [PROMPT] * 3,
        lambda _: draws_JT,
        base.eos_token_ids,
        max_rows=rows,
    )
    of_base = drawing(TINY, 3, len(PROMPT), RESPONSES, TOKENS)
    assert of_base.flops == counted(drawn)
    of_world = drawing(TINY, 3, len(PROMPT), RESPONSES, TOKENS, TUNED)
    assert of_world.flops == counted(lambda: drawn(adapters=adapters, world=1))


def test_rollouts_of_all_worlds_take_the_operations_that_are_counted(
    base: BaseModel, adapters: StackedAdapters
) -> None:
    draws_PJT = torch.full((3, RESPONSES, TOKENS), NEVER_ENDING)
    worlds = list(range(WORLDS))
    found = counted(
        lambda: sample(
            Decoder(base.model), adapters, worlds, [PROMPT] * 3, draws_PJT, base.eos_token_ids
        )
    )
    expected = rollouts(TINY, 3, len(PROMPT), RESPONSES, TOKENS, WORLDS, TUNED)
    assert expected.flops == found


def test_log_probabilities_take_the_operations_that_are_counted(
    base: BaseModel, adapters: StackedAdapters
) -> None:
    tokens_XJT = torch.ones((2, RESPONSES, TOKENS), dtype=torch.long)
    lengths_XJ = torch.full((2, RESPONSES), TOKENS)
    along = ResponseLogProbs(Decoder(base.model), adapters, [PROMPT] * 2, tokens_XJT, lengths_XJ)
    each = log_probabilities(TINY, len(PROMPT), RESPONSES, TOKENS, 2, TUNED)
    assert (each * 2).flops == counted(lambda: along([None, 0, 2]))


def _forward(base: BaseModel, adapters: StackedAdapters) -> tuple[Decoder, PackedRows, Tensor]:
    """The top layer's output for one packed row in each world."""
    decoder = Decoder(base.model)
    prompts = PromptRows.of([PROMPT] * WORLDS, decoder.device)
    tokens_RGT = torch.ones((WORLDS, RESPONSES, TOKENS), dtype=torch.long)
    rows = PackedRows(prompts, tokens_RGT)
    hidden_RSH = torch.ones((WORLDS, rows.tokens_RS.shape[1], TINY.hidden))
    with adapters.select(list(range(WORLDS))):
        out = decoder.run(hidden_RSH, range(1, 2), rows.positions_RS, rows.mask_RSS)
    return decoder, rows, out


def test_a_gradient_takes_the_operations_that_are_counted(
    base: BaseModel, adapters: StackedAdapters
) -> None:
    def work() -> None:
        decoder, rows, out = _forward(base, adapters)
        decoder.logits(rows.predicting(out)).sum().backward()

    packed = Packed.of(len(PROMPT), RESPONSES, TOKENS)
    expected = gradient(TINY, packed, RESPONSES * TOKENS, TUNED, WORLDS)
    assert expected.flops == counted(work)


def test_gradients_of_single_responses_take_the_operations_that_are_counted(
    base: BaseModel, adapters: StackedAdapters
) -> None:
    drawn = sample_pool(
        base,
        [PromptLine(prompt="red sun rain")],
        samples=RESPONSES,
        max_new_tokens=TOKENS,
        labels=("scale",),
    )
    pool = replace(drawn, lengths_XJ=torch.full((1, RESPONSES), TOKENS))
    gradients = ResponseGradients(Decoder(base.model), adapters, pool)
    expected = response_gradients(TINY, len(pool.prompt_tokens[0]), RESPONSES, TOKENS, TUNED)
    assert expected.flops == counted(lambda: gradients(0))


def test_activations_are_as_many_as_are_kept(base: BaseModel, adapters: StackedAdapters) -> None:
    """Within a tenth: the tiny model's masks and ranks count, beside which others' are nothing."""
    kept: dict[int, Tensor] = {}
    weights = {each.untyped_storage().data_ptr() for each in base.model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _, rows, _ = _forward(base, adapters)
    tokens = rows.tokens_RS.numel()
    found = sum(
        each.untyped_storage().nbytes()
        for place, each in kept.items()
        if place not in weights and each.numel() >= tokens * TINY.head_size
    )
    assert found == pytest.approx(tokens * memory.activation_bytes(TINY), rel=0.1)


def rules(**changes: Any) -> RoundCreate:
    announced = {
        "name": "A round",
        "base_model": "tiny-enumerable",
        "prompts_file_id": "file_" + "0" * 26,
        "generation": {"max_new_tokens": 3},
        "regularizer": {"type": "kl", "coefficient": 1.0},
        "training": {"steps": 9, "prompts_per_step": 2, "samples_per_prompt": 4, "lora_rank": 2},
        "max_group_size": 10,
        "price_per_unit_micro_units": 1_000_000,
    }
    return RoundCreate.model_validate(announced | changes)


@pytest.mark.parametrize("method", ["closed_form", "checkpoints", "retrain", "early_stop"])
def test_trainings_and_candidates_are_those_of_a_quote(method: str) -> None:
    changes = {"counterfactual_steps": 5} if method == "early_stop" else {}
    planned = plan(rules(counterfactuals=method, **changes), 4, 3, 8)
    size = RoundSize(4, steps=9, evaluate_every=4, counterfactuals=method, counterfactual_steps=5)
    assert (size.trainings, size.evaluated) == (planned.trainings, planned.evaluated)
    assert size.candidates == planned.candidates
    assert sum(steps * worlds for steps, worlds in size.batches) == sum(
        steps * worlds for steps, worlds in planned.batches
    )


def test_an_operation_takes_a_device_as_long_as_its_slower_half() -> None:
    device = Device("one", 100.0, 10.0, 1e9, 3600.0, 0.5, 0.5, 2.0, 0.25)
    computing = Work(flops=500, weight_bytes=5)
    assert device.seconds(computing) == 500 / (100 * 0.5)
    reading = Work(flops=5, weight_bytes=30, cache_bytes=20, logits=4, calls=3)
    assert device.seconds(reading) == (30 + 20) / (10 * 0.5) + 4 * 0.25 + 3 * 2
    assert device.dollars(device.seconds(computing)) == 10.0


def test_constants_are_found_where_the_model_is_right() -> None:
    units = [(1e9, 100.0, 1.0), (5e9, 20.0, 8.0), (2e9, 0.0, 40.0), (9e9, 700.0, 3.0)]
    truth = (2e-9, 3e-3, 0.1)
    seconds = [sum(c * u for c, u in zip(truth, row, strict=True)) for row in units]
    assert least_relative_squares(units, seconds) == pytest.approx(truth)
    with pytest.raises(ValueError, match="2 measurements for 3 constants"):
        least_relative_squares(units[:2], seconds[:2])


def test_a_limit_is_the_last_size_that_is_right() -> None:
    assert limits.largest(lambda n: n**2, 99) == 9
    assert limits.largest(lambda n: n**2, 100) == 10
    assert limits.largest(lambda n: 1 + n, 0.5) == 0
    assert limits.largest(lambda n: 0, 1) == limits.LARGEST


def test_closed_form_trains_as_much_whatever_the_groups_and_retrain_a_world_more_for_each() -> None:
    def trained(groups: int, method: str) -> float:
        size = replace(RoundSize(groups), counterfactuals=method)
        return stages(LLAMA_8B, size)["train"].model.flops

    assert trained(10, "closed_form") == trained(1000, "closed_form")
    of_ten_more = trained(20, "retrain") - trained(10, "retrain")
    assert trained(30, "retrain") - trained(20, "retrain") == pytest.approx(of_ten_more)


def test_a_core_is_as_fast_as_was_fitted() -> None:
    found = core({"flop": 1e-9, "logit": 2e-9, "call": 1e-3})
    assert found.seconds(Work(flops=1e9, logits=1e9, calls=10, weight_bytes=1e30)) == (
        pytest.approx(1 + 2 + 0.01)
    )


def test_a_training_step_takes_the_operations_that_are_counted(base: BaseModel) -> None:
    """All three worlds of two groups; the trial's prompts, of three tokens each."""
    lines = [PromptLine(prompt="red sun rain"), PromptLine(prompt="rain sun blue")]
    with closing(trial(base, plan(rules(), 2, 2, 4), lines, Size(3, 2, 4))) as trainer:
        steps = trainer.train()
        next(steps)
        found = counted(lambda: next(steps))
    size = RoundSize(
        2,
        prompts=0,
        prompt_tokens=3,
        tokens=3,
        steps=1,
        step_prompts=2,
        samples=4,
        adapters=Adapters(2, 2),
        counterfactuals="retrain",
    )
    assert train(TINY, size).model.flops == found
