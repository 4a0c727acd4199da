"""Coordinators, a cluster and its deaths as discrete events: what the closed formulas leave out.

Rounds come, wait for a coordinator, and go through their stages one by one. A stage's tasks take a
device each, or all of theirs at once (`gang`). A node that dies takes its tasks with it: they are
tried again elsewhere, a gang from its last checkpoint. A coordinator that dies leaves its round
until the lease runs out; another takes it up at the stage in flight. docs/scale.md §7.
"""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StagePlan:
    """`tasks` of `seconds` each on a device; without `devices` on a core, of which there are
    enough. `parts`: a gang has a checkpoint after each of so many equal parts."""

    seconds: float
    tasks: int = 1
    gang: bool = False
    parts: int = 1
    devices: bool = True


@dataclass(frozen=True)
class Setup:
    """`spread`: σ of the logarithm of a task's time, whose mean stays 1. Deaths come at random, so
    many an hour of each node or working coordinator, and at the given seconds (of node 0, or of
    the round's coordinator). `restart_seconds`: from a task's death to its next try."""

    nodes: int = 1
    devices_a_node: int = 1
    coordinators: int = 1
    lease_seconds: float = 30.0
    spread: float = 0.0
    node_deaths_an_hour: float = 0.0
    coordinator_deaths_an_hour: float = 0.0
    repair_seconds: float = 300.0
    restart_seconds: float = 0.0
    node_deaths_at: tuple[float, ...] = ()
    coordinator_deaths_at: tuple[float, ...] = ()
    seed: int = 0


@dataclass(eq=False)
class Round:
    """One round on its way; `token` is raised by each claim, as a lease's is."""

    arrived: float
    stages: Sequence[StagePlan]
    claimed: float = math.nan
    finished: float = math.nan
    stage: int = 0
    left: int = 0
    token: int = 0
    parts_done: int = 0


@dataclass(eq=False)
class _Task:
    """Waiting or running; `places` are the nodes of its devices."""

    round: Round
    token: int
    plan: StagePlan
    places: list[int] = field(default_factory=list)
    over: bool = False

    @property
    def wanted(self) -> int:
        if not self.plan.devices:
            return 0
        return self.plan.tasks if self.plan.gang else 1

    @property
    def stale(self) -> bool:
        return self.token != self.round.token


class Simulation:
    def __init__(self, setup: Setup, rounds: Sequence[Round]):
        self.setup, self.rounds = setup, list(rounds)
        self.now, self.busy_seconds, self.deaths = 0.0, 0.0, 0
        self._random = random.Random(setup.seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._free = [setup.devices_a_node] * setup.nodes
        self._dead = [0] * setup.nodes
        self._coordinators = setup.coordinators
        self._unfinished = len(self.rounds)
        self._queue: deque[Round] = deque()
        self._waiting: deque[_Task] = deque()
        self._running: dict[_Task, float] = {}

    def run(self) -> "Simulation":
        """Until every round is finished."""
        for each in self.rounds:
            self._at(each.arrived, lambda found=each: self._arrive(found))
        for node in range(self.setup.nodes):
            self._next_death(node)
        for moment in self.setup.node_deaths_at:
            self._at(moment, lambda: self._kill_node(0))
        for moment in self.setup.coordinator_deaths_at:
            self._at(moment, self._kill_working_coordinator)
        while self._unfinished:
            self.now, _, act = heapq.heappop(self._events)
            act()
        return self

    def _at(self, moment: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), act))

    def _arrive(self, found: Round) -> None:
        self._queue.append(found)
        self._claim()

    def _claim(self) -> None:
        while self._queue and self._coordinators:
            self._coordinators -= 1
            found = self._queue.popleft()
            found.token += 1
            if math.isnan(found.claimed):
                found.claimed = self.now
            self._await_death(found, found.token)
            self._start_stage(found)

    def _await_death(self, found: Round, token: int) -> None:
        """Of the coordinator that has just claimed the round."""
        rate = self.setup.coordinator_deaths_an_hour / 3600
        if rate:
            delay = self._random.expovariate(rate)
            self._at(self.now + delay, lambda: self._kill_coordinator(found, token))

    def _start_stage(self, found: Round) -> None:
        plan = found.stages[found.stage]
        count = 1 if plan.gang else plan.tasks
        found.left = count
        for _ in range(count):
            self._waiting.append(_Task(found, found.token, plan))
        self._serve()

    def _serve(self) -> None:
        """First come, first served: a gang that waits is not overtaken for ever."""
        while self._waiting:
            task = self._waiting[0]
            if not task.stale and sum(self._free) < task.wanted:
                return
            self._waiting.popleft()
            if not task.stale:
                self._run(task)

    def _run(self, task: _Task) -> None:
        task.places, task.over = [], False
        for node, free in enumerate(self._free):
            taken = min(free, task.wanted - len(task.places))
            self._free[node] -= taken
            task.places += [node] * taken
        self._running[task] = self.now
        self._go_on(task)

    def _go_on(self, task: _Task) -> None:
        """The next part of the task, or all of it where it has but one."""
        started, seconds = self._running[task], task.plan.seconds / task.plan.parts
        self._at(self.now + seconds * self._noise(), lambda: self._part_done(task, started))

    def _noise(self) -> float:
        spread = self.setup.spread
        return self._random.lognormvariate(-(spread**2) / 2, spread) if spread else 1.0

    def _part_done(self, task: _Task, started: float) -> None:
        if self._running.get(task) != started:  # it was killed meanwhile
            return
        found = task.round
        if task.plan.gang:
            found.parts_done += 1
            if found.parts_done < task.plan.parts:
                self._go_on(task)
                return
        self._release(task)
        found.left -= 1
        if found.left == 0:
            self._stage_done(found)
        self._serve()

    def _stage_done(self, found: Round) -> None:
        found.stage, found.parts_done = found.stage + 1, 0
        if found.stage < len(found.stages):
            self._start_stage(found)
            return
        found.finished = self.now
        found.token += 1
        self._unfinished -= 1
        self._coordinators += 1
        self._claim()

    def _release(self, task: _Task) -> None:
        self.busy_seconds += (self.now - self._running.pop(task)) * task.wanted
        for node in task.places:
            if not self._dead[node]:
                self._free[node] += 1

    def _next_death(self, node: int) -> None:
        rate = self.setup.node_deaths_an_hour / 3600
        if rate:
            delay = self._random.expovariate(rate)
            self._at(self.now + delay, lambda: self._kill_node(node))

    def _kill_node(self, node: int) -> None:
        self.deaths += 1
        hit = [task for task in self._running if node in task.places]
        self._dead[node] += 1
        for task in hit:
            self._release(task)
            self._at(self.now + self.setup.restart_seconds, lambda again=task: self._again(again))
        self._free[node] = 0
        self._at(self.now + self.setup.repair_seconds, lambda: self._repair(node))

    def _again(self, task: _Task) -> None:
        self._waiting.append(task)
        self._serve()

    def _repair(self, node: int) -> None:
        self._dead[node] -= 1
        if not self._dead[node]:
            self._free[node] = self.setup.devices_a_node
            self._next_death(node)
        self._serve()

    def _kill_working_coordinator(self) -> None:
        held = next(iter(self._running), None)
        if held is not None:
            self._kill_coordinator(held.round, held.token)

    def _kill_coordinator(self, found: Round, token: int) -> None:
        """Its tasks end with it. It is started anew at once, and finds the lease still held."""
        if token != found.token or not math.isnan(found.finished):
            return
        self.deaths += 1
        found.token += 1
        for task in [task for task in self._running if task.round is found]:
            self._release(task)
        self._coordinators += 1
        self._at(self.now + self.setup.lease_seconds, lambda: self._arrive(found))
        self._claim()
        self._serve()


def utilisation(run: Simulation) -> float:
    """The devices' busy share until the last round ended."""
    last = max(each.finished for each in run.rounds)
    return run.busy_seconds / (last * run.setup.nodes * run.setup.devices_a_node)
