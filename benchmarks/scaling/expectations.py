"""Closed formulas of what the simulation plays: stragglers, queues, restarts. docs/scale.md §7."""

import math
from collections.abc import Sequence

import numpy as np

from .simulation import StagePlan


def undisturbed(stages: Sequence[StagePlan], devices: int) -> float:
    """Seconds of one round alone: Σ ⌈tasks / devices⌉ · seconds; a gang, or a core's, once."""
    return sum(
        plan.seconds * (1 if plan.gang or not plan.devices else math.ceil(plan.tasks / devices))
        for plan in stages
    )


def slowest(tasks: int, spread: float) -> float:
    """E max of m log-normal times of mean 1: ∫ 1 − F(t)^m dt over t > 0, by the midpoint rule."""
    if spread == 0 or tasks == 0:
        return 1.0
    top = math.exp(spread * (6 + math.sqrt(2 * math.log(tasks + 1))))
    edges = np.linspace(0, top, 20_001)
    middle = (edges[1:] + edges[:-1]) / 2
    places = (np.log(middle) + spread**2 / 2) / (spread * math.sqrt(2))
    below = 0.5 * (1 + np.array([math.erf(place) for place in places]))
    return float((1 - below**tasks).sum() * (edges[1] - edges[0]))


def with_restarts(seconds: float, deaths_an_hour: float, delay: float) -> float:
    """Expected time of work that starts anew after each death and a delay: (e^{γs} − 1)(1/γ + d).

    Deaths come at rate γ while it works, none in the delay.
    """
    rate = deaths_an_hour / 3600
    return seconds if rate == 0 else math.expm1(rate * seconds) * (1 / rate + delay)


def with_checkpoints(seconds: float, parts: int, deaths_an_hour: float, delay: float) -> float:
    """The same, with nothing done twice but the part in hand."""
    return parts * with_restarts(seconds / parts, deaths_an_hour, delay)


def wait_in_queue(
    arrivals_an_hour: float, mean_seconds: float, squared_variation: float, servers: int
) -> float:
    """Mean seconds until one of k coordinators is free, M/G/k by Allen and Cunneen:

        W = C(k, a)/(k/s − λ) · (1 + c²)/2,  a = λs,  C by Erlang

    s the mean of a round's time, c² its squared coefficient of variation; exact for k = 1. Raises
    ValueError where rounds come faster than they are done.
    """
    rate = arrivals_an_hour / 3600
    load = rate * mean_seconds
    if load >= servers:
        raise ValueError(f"a load of {load:.3g} on {servers} coordinators: the queue only grows")
    waits = erlang_c(servers, load)
    return waits / (servers / mean_seconds - rate) * (1 + squared_variation) / 2


def erlang_c(servers: int, load: float) -> float:
    """The share of arrivals that wait, by Erlang's recursion for those that would be lost."""
    lost = 1.0
    for k in range(1, servers + 1):
        lost = load * lost / (k + load * lost)
    return lost / (1 - load / servers * (1 - lost))
