"""Any order of announcing, reporting, closing, claiming, dying, settling, paying and looking."""

from collections import Counter
from pathlib import Path

import pytest
from campaigns import scaled
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from round_machine import RoundMachine


def test_no_order_of_steps_breaks_an_invariant(sqlite_template: Path) -> None:
    reached = _run(sqlite_template, runs=15, steps=30)

    assert reached["rounds settled"] >= 2


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_no_order_of_fifty_steps_breaks_an_invariant(sqlite_template: Path) -> None:
    runs, steps = scaled(2000), 50
    reached = _run(sqlite_template, runs, steps)
    happened = ", ".join(f"{count} {what}" for what, count in sorted(reached.items()))
    print(f"\nstate machine: {runs} runs of {steps} steps ({happened}), 0 violated invariants")
    assert reached["rounds settled"] >= runs // 4


def _run(sqlite_template: Path, runs: int, steps: int) -> Counter[str]:
    reached: Counter[str] = Counter()
    run_state_machine_as_test(
        lambda: RoundMachine(sqlite_template, reached),
        settings=settings(
            max_examples=runs,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return reached
