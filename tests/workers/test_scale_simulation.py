"""The simulation behind docs/scale.md keeps schedules worked by hand and the closed formulas."""

import math

import pytest

from benchmarks.scaling import expectations
from benchmarks.scaling.simulation import Round, Setup, Simulation, StagePlan

# A round of three stages on two devices: three tasks of 10 s, 5 s on a core, 30 s on both devices
# with a checkpoint every 10 s.
STAGES = (
    StagePlan(10, tasks=3),
    StagePlan(5, devices=False),
    StagePlan(30, tasks=2, gang=True, parts=3),
)


def finished(setup: Setup, *arrivals: float) -> list[float]:
    run = Simulation(setup, [Round(moment, STAGES) for moment in arrivals]).run()
    return [each.finished for each in run.rounds]


def test_a_round_alone_keeps_the_schedule_worked_by_hand() -> None:
    """Two tasks until 10, the third until 20; the core until 25; both devices until 55."""
    assert finished(Setup(devices_a_node=2), 0.0) == [55.0]
    assert expectations.undisturbed(STAGES, 2) == 55.0


def test_a_coordinator_takes_the_second_round_after_the_first() -> None:
    assert finished(Setup(devices_a_node=2), 0.0, 4.0) == [55.0, 110.0]


def test_two_coordinators_share_the_devices() -> None:
    """A: tasks on both devices until 10, its third beside B's first until 20, when B's other two
    start and A's core. A's gang waits from 25 until 30; B's, behind it, from 35 until 60."""
    assert finished(Setup(devices_a_node=2, coordinators=2), 0.0, 4.0) == [60.0, 90.0]


def test_training_goes_on_from_its_checkpoint_when_a_node_dies() -> None:
    """At 37 the part that began at 35 is lost; from 47 on it and the last one take 20 s."""
    setup = Setup(devices_a_node=2, node_deaths_at=(37.0,), repair_seconds=10)
    assert finished(setup, 0.0) == [67.0]


def test_a_dead_coordinators_round_waits_for_its_lease() -> None:
    """At 12 the third task is under way; the lease ends at 42, and the stage starts anew: 20 s for
    its three tasks, 5 s and 30 s."""
    setup = Setup(devices_a_node=2, coordinator_deaths_at=(12.0,), lease_seconds=30)
    assert finished(setup, 0.0) == [97.0]


def test_the_slowest_of_two_is_known_exactly() -> None:
    """E max of two log-normals of mean 1 is 2·Φ(σ/√2)."""
    spread = 0.5
    exact = 1 + math.erf(spread / 2)
    assert expectations.slowest(2, spread) == pytest.approx(exact, rel=1e-4)
    assert expectations.slowest(1, spread) == pytest.approx(1, rel=1e-4)


def test_waiting_for_one_server_is_pollaczek_and_khinchins() -> None:
    """λ = 1/1200 s, s = 900 s, c² = 1/9: W = ρ·s/(1 − ρ)·(1 + c²)/2 at ρ = 3/4."""
    found = expectations.wait_in_queue(3, 900, 1 / 9, 1)
    assert found == pytest.approx(0.75 * 900 / 0.25 * (1 + 1 / 9) / 2)
    assert expectations.erlang_c(2, 1.0) == pytest.approx(1 / 3), "M/M/2, half busy"
    with pytest.raises(ValueError, match="the queue only grows"):
        expectations.wait_in_queue(4, 900, 0, 1)


def test_restarts_cost_what_is_simulated() -> None:
    """Deaths at rate γ = 1/h of a stage of 1 h, lease 30 s; 600 rounds scatter by 3 %."""
    setup = Setup(coordinator_deaths_an_hour=1.0)
    rounds = [Round(1e6 * place, (StagePlan(3600),)) for place in range(600)]
    run = Simulation(setup, rounds).run()
    mean = sum(each.finished - each.claimed for each in run.rounds) / 600
    assert mean == pytest.approx(expectations.with_restarts(3600, 1.0, 30), rel=0.1)
    assert expectations.with_restarts(3600, 1.0, 30) == pytest.approx(math.expm1(1) * 3630)
