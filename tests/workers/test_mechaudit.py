"""Another library's exhaustive audit of our mechanism: it finds it truthful, and planted lies not.

`mechaudit` enumerates every true type, every false report and every profile of the others' reports
of a finite environment. A type is a size and a reward model; positive payments go from a group to
the provider, as here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import mechaudit
import numpy as np
import pytest

from workers.mechanism.arrays import Floats
from workers.mechanism.candidates import choose
from workers.mechanism.closed_form import solve
from workers.mechanism.payments import affine_maximizer
from workers.mechanism.worlds import GRAND, PoolGame, valuations

TOLERANCE = 1e-9
SHAPES = [(2, 2), (2, 3), (3, 2), (3, 3)]
"""Groups, and types of each."""


@dataclass(frozen=True, eq=False)
class Table:
    """A direct mechanism, a row for every profile of reports, the last group's type fastest.

    `values_NTO`: wᵢ·vᵢ(outcome) of every group for each of its types. `outcome_P`, `payments_PN`.
    """

    values_NTO: Floats
    outcome_P: list[int]
    payments_PN: Floats

    @property
    def profiles(self) -> list[tuple[int, ...]]:
        groups, types, _ = self.values_NTO.shape
        return list(product(range(types), repeat=groups))

    def bids(self) -> Floats:
        """wᵢ·vᵢ(ψ) as reported, shape (P, N)."""
        return np.array(
            [
                [self.values_NTO[i, report, outcome] for i, report in enumerate(profile)]
                for profile, outcome in zip(self.profiles, self.outcome_P, strict=True)
            ]
        )

    def audit(self, payments_PN: Floats) -> mechaudit.MechanismAuditReport:
        groups, types, outcomes = self.values_NTO.shape
        environment = mechaudit.FiniteEnvironment(
            agents={i: range(types) for i in range(groups)},
            outcomes=range(outcomes),
            values=mechaudit.PrivateValues(
                lambda i, kind, outcome: self.values_NTO[i, kind, outcome]
            ),
        )
        mechanism = mechaudit.DirectMechanism.from_arrays(
            np.eye(outcomes)[self.outcome_P],
            payments_PN,
            report_profiles=[dict(enumerate(profile)) for profile in self.profiles],
            outcomes=range(outcomes),
            agents=range(groups),
            environment=environment,
        )
        return mechaudit.audit_mechanism(
            environment=environment,
            mechanism=mechanism,
            requirements=(mechaudit.DSIC(), mechaudit.ExPostIR(), mechaudit.NoSubsidies()),
            options=mechaudit.AuditOptions(mechaudit.TolerancePolicy(feasibility=TOLERANCE)),
        )

    def gain(self, payments_PN: Floats, agent: int, true: int, told: int, others: dict) -> float:
        """What a group gains by telling one type while it is of another, recounted."""
        utility = {}
        for report in (true, told):
            reports = {**others, agent: report}
            row = self.profiles.index(tuple(reports[i] for i in range(len(reports))))
            value = self.values_NTO[agent, true, self.outcome_P[row]]
            utility[report] = float(value - payments_PN[row, agent])
        return utility[told] - utility[true]


def finite_mechanism(seed: int, groups: int, types: int) -> Table:
    """Six models, the first of them π₀; `choose` and `affine_maximizer` settle every profile."""
    rng = np.random.default_rng(seed)
    sizes_NT = rng.integers(1, 10, (groups, types)).astype(float)
    values_NTK = 0.3 * rng.random((groups, types, 6))
    sizes_NT[:, 0] = 3.0
    for i in range(groups):  # its own model: worth 12·0.7 to 12 agents, at most 6 + 1 to the others
        values_NTK[i, :, 1 + i] = 1.0
    sizes_NT[:, 1], values_NTK[:, 1] = 12.0, values_NTK[:, 0]  # a lie of size alone
    penalties_K = np.append(0.0, rng.random(5))
    everything_WK = np.ones((groups + 1, 6), dtype=bool)
    outcomes, payments = [], []
    for profile in product(range(types), repeat=groups):
        sizes_N = sizes_NT[np.arange(groups), profile]
        valuations_KN = values_NTK[np.arange(groups), profile].T
        choice = choose(sizes_N, valuations_KN, penalties_K, everything_WK)
        outcomes.append(int(choice.candidate_W[GRAND]))
        payments.append(affine_maximizer(sizes_N, choice.values).payments_N)
    return Table(sizes_NT[:, :, None] * values_NTK, outcomes, np.array(payments))


def pool_mechanism(seed: int, groups: int, types: int, regularizer: str) -> Table:
    """The closed form's policy of every profile is an outcome of its own."""
    rng = np.random.default_rng(seed)
    sizes_NT = rng.integers(1, 10, (groups, types)).astype(float)
    rewards_NTXJ = rng.random((groups, types, 2, 4))
    sizes_NT[:, 1], rewards_NTXJ[:, 1] = 4 * sizes_NT[:, 0], rewards_NTXJ[:, 0]
    weights_X = np.array([0.25, 0.75])
    policies, payments = [], []
    for profile in product(range(types), repeat=groups):
        game = PoolGame(
            log_q_XJ=np.log(np.full((2, 4), 0.25)),
            prompt_weights_X=weights_X,
            coefficient=3.0,
            sizes_N=sizes_NT[np.arange(groups), profile],
            rewards_NXJ=rewards_NTXJ[np.arange(groups), profile],
            regularizer=regularizer,
        )
        solution = solve(game)
        policies.append(np.exp(solution.log_policy_XJ))
        payments.append(affine_maximizer(game.sizes_N, solution.values).payments_N)
    flat_MXJ = rewards_NTXJ.reshape(groups * types, 2, 4)
    values_OM = np.array([valuations(policy_XJ, weights_X, flat_MXJ) for policy_XJ in policies])
    values_NTO = values_OM.T.reshape(groups, types, len(policies))
    return Table(sizes_NT[:, :, None] * values_NTO, list(range(len(policies))), np.array(payments))


MECHANISMS: dict[str, Callable[[int, int, int], Table]] = {
    "finite": finite_mechanism,
    "pool-kl": lambda seed, groups, types: pool_mechanism(seed, groups, types, "kl"),
    "pool-l2": lambda seed, groups, types: pool_mechanism(seed, groups, types, "l2"),
}


CASES = [
    pytest.param(kind, *shape, seed, id=f"{kind}-{shape[0]}x{shape[1]}-{seed}")
    for kind in MECHANISMS
    for shape in SHAPES
    for seed in range(5)
]


every_mechanism = pytest.mark.parametrize(("kind", "groups", "types", "seed"), CASES)


@pytest.fixture
def table(kind: str, groups: int, types: int, seed: int) -> Table:
    made = MECHANISMS[kind](seed, groups, types)
    assert len(set(made.outcome_P)) > 1  # else no report matters
    return made


def lies(table: Table) -> int:
    """Pairs of a true type and another one, before every profile of the others."""
    groups, types, _ = table.values_NTO.shape
    return groups * types * (types - 1) * types ** (groups - 1)


def assert_a_witness(table: Table, payments_PN: Floats, checks: Sequence) -> None:
    """The worst violation that the audit names is one, by our own count."""
    worst = min(checks, key=lambda check: check.slack)
    told = worst.metadata
    gain = table.gain(
        payments_PN,
        told["agent"],
        told["true_type"],
        told["deviation"],
        dict(told["others_report"]),
    )
    assert gain > 0.01
    assert gain == pytest.approx(told["deviation_gain"], rel=1e-9)


@every_mechanism
def test_its_exhaustive_audit_confirms_dominant_strategies_and_participation(table: Table) -> None:
    report = table.audit(table.payments_PN)
    assert len(report.ic) == lies(table)
    assert len(report.ir) == table.payments_PN.size
    assert report.ic.passed
    assert report.ir.passed
    assert report.budget.passed  # no group is paid
    assert report.epsilon_ic <= TOLERANCE
    assert report.passed


@every_mechanism
def test_it_finds_the_lie_that_pays_when_nobody_pays(table: Table) -> None:
    free_PN = np.zeros_like(table.payments_PN)
    report = table.audit(free_PN)
    assert not report.ic.passed
    assert report.ir.passed
    assert_a_witness(table, free_PN, report.ic)


@every_mechanism
def test_it_finds_the_lie_that_pays_when_groups_pay_what_they_bid(table: Table) -> None:
    bids_PN = table.bids()
    report = table.audit(bids_PN)
    assert not report.ic.passed
    assert report.ir.passed  # all that a group gets is taken from it, no more
    assert_a_witness(table, bids_PN, report.ic)


@every_mechanism
def test_it_finds_a_payment_that_one_cent_too_much_turns_into_a_loss(table: Table) -> None:
    """Where a group is left with least, it pays that as well, and 0.01 more."""
    payments_PN = table.payments_PN.copy()
    utilities_PN = table.bids() - payments_PN
    row, agent = np.unravel_index(utilities_PN.argmin(), utilities_PN.shape)
    payments_PN[row, agent] += utilities_PN[row, agent] + 0.01
    assert not table.audit(payments_PN).ir.passed
