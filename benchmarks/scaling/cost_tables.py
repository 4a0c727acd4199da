"""Tables of what rounds cost by the model, and of where it breaks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import limits
from .breaking import choices
from .costs import GROUPS, METHODS, by_method, cost
from .devices import H100, core
from .markdown import duration, short, size_of, table
from .memory import stored_bytes
from .memory import training as held_in_training
from .shapes import FLOAT32, LLAMA_8B, LLAMA_70B, MODELS, SMOLLM2
from .stages import RoundSize, train

Found = Mapping[str, Any]


def by_stage(found: Found) -> str:
    """Of one round, for two models: operations, logits, seconds and dollars."""
    head = ("stage", *(f"{shape.name}: {what}" for shape in _TWO for what in _WHATS))
    costs = [cost(shape, RoundSize(10), found) for shape in _TWO]
    rows = []
    for name in (*costs[0].works, "settle"):
        cells = []
        for each in costs:
            work, seconds = each.works.get(name), each.device_seconds.get(name, 0)
            dollars = each.device.dollars(seconds)
            cells += [
                short(work.model.flops) if work and work.model.flops else "–",
                duration(seconds) if seconds else f"core {duration(each.core_seconds[name])}",
                f"{dollars:.3f}" if seconds else "–",
            ]
        rows.append((f"`{name}`", *cells))
    return table(head, rows)


_TWO = (LLAMA_8B, LLAMA_70B)
_WHATS = ("FLOPs", "time", "$")


def by_groups(found: Found) -> str:
    """Dollars of a round on the 8B model, by method and groups."""
    rows = []
    for groups in GROUPS:
        costs = [by_method(LLAMA_8B, method, groups, found) for method in METHODS]
        cells = ["refused" if each is None else f"{short(each.dollars)}" for each in costs]
        rows.append((f"{groups:,}", *cells))
    return table(("groups", *(f"`{method}`" for method in METHODS)), rows)


def by_model(found: Found) -> str:
    head = (
        "base model",
        "P",
        "held by",
        "`closed_form`: FLOPs",
        "device-hours",
        "$",
        "`retrain`: FLOPs",
        "device-hours",
        "$",
    )
    rows = []
    for shape in MODELS:
        cells = [shape.name, short(shape.parameters), cost(shape, _TEN, found).device.name]
        for method in ("closed_form", "retrain"):
            each = cost(shape, replace(_TEN, counterfactuals=method), found)
            flops = sum(work.model.flops for work in each.works.values())
            cells += [short(flops), f"{each.device_hours:.2f}", f"{each.dollars:.2f}"]
        rows.append(tuple(cells))
    return table(head, rows)


_TEN = RoundSize(10)


def by_training(found: Found) -> str:
    """Stage `train` of one world and of nine: SmolLM2 on a core, the 8B model on an H100."""
    devices = ((SMOLLM2_ON_CPU, core(found["constants"])), (LLAMA_8B, H100))
    head = ("training", *(f"{shape.name}: {what}" for shape, _ in devices for what in _RATIO))
    rows = []
    for method in ("policy_gradient", "pool_gradient", "natural_gradient"):
        cells = [f"`{method}`"]
        for shape, device in devices:
            one, nine = (device.seconds(train(shape, _trained(method, n)).model) for n in (0, 8))
            cells += [duration(one), duration(nine), f"{nine / one:.1f}"]
        rows.append(tuple(cells))
    return table(head, rows)


SMOLLM2_ON_CPU = replace(SMOLLM2, number_bytes=FLOAT32)
_RATIO = ("one world", "nine", "ratio")


def _trained(method: str, groups: int) -> RoundSize:
    """The demo's sizes, on 16 prompts, so that all methods have room."""
    natural = method == "natural_gradient"
    return RoundSize(
        groups,
        prompts=16,
        prompt_tokens=40,
        tokens=20,
        responses=24,
        holdout=6,
        steps=5 if natural else 12,
        step_prompts=4,
        samples=8,
        evaluate_every=1 if natural else 6,
        training=method,
        counterfactuals="retrain",
    )


def bytes_of_a_round() -> str:
    """On disk and on the training device, of the 8B model."""
    head = ("8B, `retrain`", *(f"{groups:,} groups" for groups in _FEW))
    sizes = [RoundSize(groups, counterfactuals="retrain") for groups in _FEW]
    stored = [stored_bytes(LLAMA_8B, size) for size in sizes]
    rows = [(f"stored: {name}", *(size_of(each[name]) for each in stored)) for name in stored[0]]
    held = [held_in_training(LLAMA_8B, size) for size in sizes]
    rows += [
        (f"device: {name}", *(size_of(getattr(each, name)) for each in held))
        for name in ("weights", "adapters", "activations", "logits", "cache", "total")
    ]
    return table(head, rows)


_FEW = (1, 10, 100, 1000)


def rows_of_a_round(groups: int, size: RoundSize = _TEN) -> dict[str, int]:
    """Rows that a round of n groups leaves in SQL, one webhook for each group and the operator.

    Events: 2 a stage and the claim; one a report, a reward model, a world solved, a step or
    evaluation, a call of drawing, a prompt valued.
    """
    calls = 2 * -(-size.prompts * size.responses // 256)
    training_events = size.steps + (size.steps - 1) // size.evaluate_every + 1
    return {
        "reports": groups,
        "job events": 2 + 2 * 7 + 3 * groups + 1 + calls + training_events + 3 * size.prompts,
        "invoices, ledger entries, receipts": 3 * groups,
        "postings": 2 * groups,
        "webhook messages": 3 * (groups + 1) + 4 * groups,
        "round, job, stages, outcome, model": 11,
    }


REQUESTS = 10
"""Of a group in a round: its report, its job's state now and then, outcome, invoice, receipt."""


def rows(found: Found) -> str:
    counts = (10, 1000, 10_000)
    each = [rows_of_a_round(groups) for groups in counts]
    head = ("rows", *(f"{groups:,} groups" for groups in counts))
    lines = [(name, *(f"{found_[name]:,}" for found_ in each)) for name in each[0]]
    lines.append(("all", *(f"{sum(found_.values()):,}" for found_ in each)))
    events, request = found["writes"]["events"], found["request_processor_ms"] / 1000
    lines += [
        ("events written in", *(duration(found_["job events"] / events) for found_ in each)),
        (
            f"{REQUESTS} requests of each group",
            *(f"{duration(REQUESTS * groups * request)} of a core" for groups in counts),
        ),
    ]
    lines.append(
        ("settled in", *(duration(limits.settle_seconds(found, groups)) for groups in counts))
    )
    lines.append(
        ("outcome's JSON", *(size_of(limits.outcome_bytes(found, groups)) for groups in counts))
    )
    return table(head, lines)


def breaking(found: Found) -> str:
    head = ("choice", "breaks where this is not enough", "at", "what replaces it")
    return table(
        head,
        [(each.choice, each.criterion, each.breaks, each.replacement) for each in choices(found)],
    )
