"""The simulation beside the closed formulas: one disturbance at a time, then all at once."""

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .devices import H100, Device, fitting
from .expectations import (
    slowest,
    undisturbed,
    wait_in_queue,
    with_checkpoints,
    with_restarts,
)
from .limits import MAP_SECONDS, settle_seconds, streamed_seconds
from .shapes import LLAMA_8B, LLAMA_70B, Shape
from .simulation import Round, Setup, Simulation, StagePlan, utilisation
from .stages import RoundSize, stages

FAR_APART = 1e7
"""Seconds between rounds that shall not meet."""
YEAR_HOURS = 365 * 24
NODE_DEATHS = 10 / YEAR_HOURS
COORDINATOR_DEATHS = 1 / 24
REPAIR = 600.0
SPREAD = 0.2
"""ASSUMED: ten deaths a year of each machine, one a day of each coordinator, ten minutes until a
machine is back, and times of tasks that scatter by a fifth."""


@dataclass(frozen=True)
class Compared:
    """Seconds, by the formula and as played."""

    what: str
    formula: float
    simulated: float

    def as_json(self) -> dict[str, Any]:
        error = self.simulated / self.formula - 1
        return {
            "what": self.what,
            "formula": self.formula,
            "simulated": self.simulated,
            "difference": error,
        }


def alone(stages_: Sequence[StagePlan], count: int) -> list[Round]:
    return [Round(place * FAR_APART, stages_) for place in range(count)]


def mean_time(setup: Setup, rounds: Sequence[Round]) -> float:
    """From the claim to the end."""
    run = Simulation(setup, rounds).run()
    return statistics.fmean(each.finished - each.claimed for each in run.rounds)


def one_by_one(rounds: int = 2000) -> list[Compared]:
    return [
        *_stragglers(rounds),
        *_coordinator_deaths(rounds),
        *_node_deaths(rounds // 4),
        *_queues(10 * rounds),
    ]


def _stragglers(rounds: int) -> list[Compared]:
    return [
        Compared(
            f"{tasks} tasks of 60 s on as many devices, σ = {spread:g}",
            60 * slowest(tasks, spread),
            mean_time(
                Setup(nodes=tasks, spread=spread),
                alone((StagePlan(60, tasks),), rounds),
            ),
        )
        for tasks, spread in ((8, 0.2), (64, 0.2), (64, 0.5))
    ]


def _coordinator_deaths(rounds: int) -> list[Compared]:
    return [
        Compared(
            f"a stage of {hours:g} h, {24 * deaths:g} deaths of its coordinator a day, lease 30 s",
            with_restarts(3600 * hours, deaths, 30),
            mean_time(
                Setup(coordinator_deaths_an_hour=deaths), alone((StagePlan(3600 * hours),), rounds)
            ),
        )
        for hours, deaths in ((1, COORDINATOR_DEATHS), (1, 1), (24, COORDINATOR_DEATHS))
    ]


def _node_deaths(rounds: int) -> list[Compared]:
    """A gang on all nodes, none to spare: it waits for the one that died."""
    return [
        Compared(
            f"training for {hours:g} h on 8 machines, {24 * deaths:g} deaths a day of each, "
            f"{parts} checkpoints",
            with_checkpoints(3600 * hours, parts, 8 * deaths, REPAIR),
            mean_time(
                Setup(nodes=8, node_deaths_an_hour=deaths, repair_seconds=REPAIR),
                alone((StagePlan(3600 * hours, 8, gang=True, parts=parts),), rounds),
            ),
        )
        for hours, deaths, parts in ((10, 0.01, 1), (10, 0.01, 20), (10, 0.1, 100))
    ]


def _queues(rounds: int) -> list[Compared]:
    """A round takes 10 minutes or 20, by chance, on a coordinator with a machine of its own."""
    found, rng = [], random.Random(0)
    for servers, load in ((1, 0.5), (1, 0.8), (4, 0.8), (4, 0.95)):
        rate = load * servers / 900
        arrivals = random_arrivals(rate, rounds, seed=servers)
        played = [Round(moment, (StagePlan(rng.choice((600, 1200))),)) for moment in arrivals]
        run = Simulation(Setup(nodes=servers, coordinators=servers), played).run()
        waited = statistics.fmean(each.claimed - each.arrived for each in run.rounds)
        expected = wait_in_queue(3600 * rate, 900, (300 / 900) ** 2, servers)
        found.append(
            Compared(
                f"the wait for one of {servers} coordinators, {load:.0%} busy", expected, waited
            )
        )
    return found


def random_arrivals(rate: float, count: int, seed: int) -> list[float]:
    """Moments of a Poisson process, `rate` a second."""
    rng, moment, found = random.Random(seed), 0.0, []
    for _ in range(count):
        moment += rng.expovariate(rate)
        found.append(moment)
    return found


def plans(
    shape: Shape, size: RoundSize, device: Device, found: Mapping[str, Any], devices: int
) -> list[StagePlan]:
    """A round's stages on `devices` of the device; what runs no model takes a core.

    `solve` is the one that replaces what is there beyond some thousand groups (limits.py).
    """
    works = stages(shape, size)
    seconds = {name: device.seconds(work.model) for name, work in works.items()}
    response = found["arithmetic"]["score: lexical"]["response"]
    workers = min(devices, size.step_prompts)
    scoring = size.groups * 2 * MAP_SECONDS + works["score"].scored * response
    asked = works["train"].scored * response
    return [
        StagePlan(seconds["sample_pool"] / devices, devices),
        StagePlan(scoring, devices=False),
        StagePlan(streamed_seconds(found, size.groups, size), devices=False),
        StagePlan(
            (seconds["train"] + asked) / workers,
            workers,
            gang=True,
            parts=max(1, size.steps // size.evaluate_every),
        ),
        StagePlan(seconds["value"] / devices, devices),
        StagePlan(settle_seconds(found, size.groups), devices=False),
    ]


CLUSTERS: Mapping[str, tuple[Shape, RoundSize, int]] = {
    "8B, 10 groups, `closed_form`": (LLAMA_8B, RoundSize(10), 8),
    "8B, 10 groups, `retrain`": (LLAMA_8B, RoundSize(10, counterfactuals="retrain"), 8),
    "8B, 100 groups, `retrain`": (LLAMA_8B, RoundSize(100, counterfactuals="retrain"), 16),
    "70B, 100 groups, `closed_form`": (LLAMA_70B, RoundSize(100), 16),
    "70B, 10,000 groups, `closed_form`": (LLAMA_70B, RoundSize(10_000), 16),
}
"""Base model, round, and machines, each a device that holds the model."""


def all_at_once(found: Mapping[str, Any], rounds: int = 200) -> list[dict[str, Any]]:
    """Rounds of a kind on a cluster of their own with stragglers and deaths; then queueing."""
    return [_played(name, found, rounds) for name in CLUSTERS]


def _played(name: str, found: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    shape, size, nodes = CLUSTERS[name]
    device = fitting(shape, H100)
    stages_ = plans(shape, size, device, found, nodes)
    setup = Setup(
        nodes=nodes,
        spread=SPREAD,
        node_deaths_an_hour=NODE_DEATHS,
        coordinator_deaths_an_hour=COORDINATOR_DEATHS,
        repair_seconds=REPAIR,
    )
    expected = disturbed(stages_, setup)
    simulated = mean_time(setup, alone(stages_, rounds))
    rate = 0.7 / expected
    queued = [Round(moment, stages_) for moment in random_arrivals(rate, 10 * rounds, seed=7)]
    run = Simulation(replace(setup, seed=1), queued).run()
    waited = statistics.fmean(each.claimed - each.arrived for each in run.rounds)
    return {
        "what": name,
        "machines": f"{nodes} of {device.name}",
        "undisturbed": undisturbed(stages_, nodes),
        "formula": expected,
        "simulated": simulated,
        "difference": simulated / expected - 1,
        "wait_formula": wait_in_queue(3600 * rate, expected, _variation(stages_, setup), 1),
        "wait_simulated": waited,
        "utilisation": utilisation(run),
        "deaths": run.deaths,
    }


def disturbed(stages_: Sequence[StagePlan], setup: Setup) -> float:
    """Each stage's slowest task, and its restarts after deaths of the coordinator or of a node.

    A dead node's task is repeated at its own machine's repair; no two deaths meet.
    """
    total = 0.0
    for plan in stages_:
        tasks = plan.tasks if plan.devices and not plan.gang else 1
        seconds = plan.seconds * slowest(tasks, setup.spread)
        of_nodes = setup.node_deaths_an_hour * (plan.tasks if plan.devices else 0)
        lease = with_checkpoints(
            seconds, plan.parts, setup.coordinator_deaths_an_hour, setup.lease_seconds
        )
        nodes = with_checkpoints(seconds, plan.parts, of_nodes, setup.repair_seconds)
        total += lease + nodes - seconds
    return total


def _variation(stages_: Sequence[StagePlan], setup: Setup) -> float:
    """c² of a round's time, from a hundred of them."""
    run = Simulation(replace(setup, seed=3), alone(stages_, 100)).run()
    times = [each.finished - each.claimed for each in run.rounds]
    return statistics.pvariance(times) / statistics.fmean(times) ** 2
