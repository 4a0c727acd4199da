"""From what was measured to what the whole round takes: every formula of docs/quotes.md §2."""

import math

from api_schemas.quotes import (
    AmountEstimate,
    Estimate,
    QuoteCreate,
    QuotedStage,
    QuoteResult,
    StageEstimate,
    StartEstimate,
    StorageEstimate,
)
from workers.quoting.calibration import Calibration
from workers.quoting.extrapolation import exactly, times, total, widened
from workers.quoting.plan import Plan

_BYTES = 8
"""Of a float64."""
_KEPT_CHECKPOINTS = 2


def quote(
    found: Calibration, settings: QuoteCreate, currency: str, shards: int, train_workers: int
) -> QuoteResult:
    """`shards` tasks with the base model go on at once, a training has `train_workers`."""
    planned = found.plan
    shards = min(shards, planned.prompts)
    workers = min(train_workers, planned.step_prompts)
    stages = [
        _sample_pool(found, shards),
        _score(found),
        _solve(found),
        _train(found, workers),
        _value(found, shards),
    ]
    start = _start(found)
    hours = total(times(each.seconds, each.devices / 3600) for each in stages)
    storage = _storage(found)
    return QuoteResult(
        groups=planned.groups,
        prompts=planned.prompts,
        trainings=planned.trainings,
        device=found.device,
        start=start,
        stages=stages,
        seconds=total([start.seconds, *(each.seconds for each in stages)]),
        device_hours=hours,
        storage=storage,
        storage_bytes=sum(each.bytes for each in storage),
        cost=_cost(hours, settings.price_per_device_hour_micro_units),
        currency=currency,
        calibration_seconds=found.seconds,
        assumptions=_assumptions(planned),
    )


def _start(found: Calibration) -> StartEstimate:
    """A process for tasks, one that leads the training, one that trains, and one for the tasks
    after it, when Ray has let the first go; all but the leading one load the model.

    At least the training's own start anew; at most each of the four has to be started twice.
    """
    process, load = found.process_seconds, found.load_seconds
    return StartEstimate(
        process_seconds=process,
        model_load_seconds=load,
        seconds=widened(4 * process + 3 * load, 2 * process + load, 8 * process + 6 * load),
    )


def _sample_pool(found: Calibration, shards: int) -> StageEstimate:
    planned = found.plan
    if found.enumerating is not None:
        seconds = found.enumerating.of(planned.prompts / shards)
        each = found.enumerating.large.seconds / found.enumerating.large.units
        formula = f"{planned.prompts} prompts × {each:.3g} s to list their responses"
        return _stage("sample_pool", seconds, found, shards, formula + _over(shards, "tasks"))
    rows = planned.prompts * (planned.responses + planned.holdout)
    seconds, formula = _drawing(found, rows, shards)
    return _stage("sample_pool", seconds, found, shards, formula)


def _drawing(found: Calibration, rows: float, shards: int) -> tuple[Estimate, str]:
    """`rows` responses, a call at a time: time grows with the calls, whose cost was measured."""
    calls = rows / found.sampled_rows
    call = found.sampling.of(found.sampled_rows)
    formula = f"{calls:.3g} calls of {found.sampled_rows} responses × {call.expected:.3g} s"
    return times(call, calls / shards), formula + _over(shards, "tasks")


def _score(found: Calibration) -> StageEstimate:
    planned = found.plan
    each = found.scoring.of(planned.scored)
    formula = (
        f"{planned.groups} reward models × {planned.scored} responses: {each.expected:.3g} s each"
    )
    seconds = times(each, planned.groups)
    return StageEstimate(stage="score", seconds=seconds, devices=_light(found), formula=formula)


def _solve(found: Calibration) -> StageEstimate:
    planned = found.plan
    worlds = planned.groups + 1
    each = found.solving.of(planned.prompts * planned.responses * planned.groups)
    return StageEstimate(
        stage="solve",
        seconds=times(each, worlds),
        devices=_light(found),
        formula=f"{worlds} worlds × {each.expected:.3g} s",
    )


def _train(found: Calibration, workers: int) -> StageEstimate:
    planned = found.plan
    per_batch = [
        times(found.step.of(planned.step_rows * models / workers), steps)
        for steps, models in planned.batches
    ]
    held_out = planned.holdout or planned.responses
    responses = planned.prompts * held_out / workers
    # The frozen layers and the initial model are run once, the others at every evaluation.
    evaluating = responses * (found.passes.once + found.passes.each * (1 + planned.evaluated))
    if planned.rules.training.gradient.method == "pool_gradient":
        # The others' steps hold the frozen layers' part of their responses.
        evaluating += planned.prompts * planned.responses * found.passes.once / workers
    steps = total(per_batch)
    formula = (
        f"{planned.steps} steps of up to {planned.batches[0][1]} models, {steps.expected:.3g} s, "
        f"and {planned.evaluated} evaluations on {planned.prompts * held_out} responses, "
        f"{evaluating:.3g} s" + _over(workers, "workers")
    )
    return _stage("train", total([steps, exactly(evaluating)]), found, workers, formula)


def _value(found: Calibration, shards: int) -> StageEstimate:
    """All candidates on the pool, the delivered model on the held-out pool and on fresh samples
    with their divergence, and on the mixture's samples where they are announced."""
    planned = found.plan
    rules, passes, models = planned.rules, found.passes, planned.candidates + 1
    fresh, prompts = rules.pool.fresh_samples_per_prompt, planned.prompts
    of_two = passes.once + passes.each * 2
    log_probs = prompts * (
        planned.responses * (passes.once + passes.each * models)
        + planned.holdout * of_two
        + fresh * (passes.kl if rules.regularizer.type == "kl" else of_two)
    )
    drawn = prompts * fresh
    if rules.value_on == "mixture":
        mixed = prompts * rules.pool.mixture_samples_per_prompt * models
        drawn += mixed
        log_probs += mixed * (passes.once + passes.each * models)
    drawing, formula = _drawing(found, drawn, shards)
    seconds = total([exactly(log_probs / shards), drawing])
    formula = f"{models} models' log-probabilities, {log_probs / shards:.3g} s, and {formula}"
    return _stage("value", seconds, found, shards, formula)


def _stage(
    name: QuotedStage, seconds: Estimate, found: Calibration, processes: int, formula: str
) -> StageEstimate:
    return StageEstimate(
        stage=name, seconds=seconds, devices=processes * found.devices, formula=formula
    )


def _light(found: Calibration) -> int:
    """What runs no model takes a core, which is no device where those are GPUs."""
    return 1 if found.device == "CPU core" else 0


def _over(count: int, what: str) -> str:
    return f", over {count} {what}" if count > 1 else ""


def _storage(found: Calibration) -> list[StorageEstimate]:
    """Shards and texts are stored beside the pool that is joined of them, and the adapter to
    deliver as a file and in its zip, beside those of all trainings."""
    planned = found.plan
    pool = planned.prompts * planned.responses
    holdout = planned.prompts * planned.holdout
    models = planned.candidates + 1
    bytes_of = {
        "pool": (pool + holdout) * (2 * found.response_bytes + found.text_bytes),
        "scores": planned.groups * (pool + (holdout or pool)) * _BYTES,
        "log_probs": (models * pool + 2 * holdout) * _BYTES,
        "adapters": (planned.candidates + 2) * found.adapter_bytes,
        "checkpoints": _KEPT_CHECKPOINTS * planned.trainings * found.checkpoint_bytes,
    }
    return [
        StorageEstimate.model_validate({"what": n, "bytes": int(b)}) for n, b in bytes_of.items()
    ]


def _cost(hours: Estimate, price: int | None) -> AmountEstimate | None:
    """Rounded up: a quote promises no less than it says."""
    if price is None:
        return None
    return AmountEstimate(
        expected_micro_units=math.ceil(hours.expected * price),
        low_micro_units=math.ceil(hours.low * price),
        high_micro_units=math.ceil(hours.high * price),
    )


def _assumptions(planned: Plan) -> list[str]:
    return [
        f"{planned.groups} groups report, whatever has been reported, and none is excluded.",
        "Every reward model is ready and as light as a lexical one; fits, and neural reward "
        "models, take longer.",
        "No training stops early, and every one of them leaves an adapter that is valued.",
        "The cluster stays as it is, and does nothing else meanwhile.",
    ]
