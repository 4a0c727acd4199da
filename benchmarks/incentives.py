"""Does lying pay? Rounds of two groups on SmolLM2, audited, for sizes (3, 7), (5, 5) and (7, 3).

SCWCD's claim (arXiv 2405.16276, section 6): without payments some misreport gains, with them none
does. Everything goes over HTTP: a service of its own, a round for each pair of sizes, an audit of
each in closed form, with real retraining for some misreports of the first group.
"""

import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from measure import record
from rich.console import Console

from api_schemas.audits import AuditCreate, AuditResult, Misreport
from api_schemas.outcomes import Outcome
from client.client import Truthtune
from client.demo import scenario
from client.demo.scenario import Member
from client.demo.service_process import DemoService
from client.demo.settings import SMOLLM2, DemoRound
from workers import plots

SIZES = ((3, 7), (5, 5), (7, 3))
FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "incentives.svg"
GROUPS = tuple(group for group in SMOLLM2.groups if group.lexical is not None)
RETRAINED = (("inflate", 3.0), ("oppose", 1.0))
SETUP = replace(
    SMOLLM2,
    groups=GROUPS,
    announcement=SMOLLM2.announcement
    | {
        "name": "Does lying pay?",
        "pool": {
            "samples_per_prompt": 16,
            "holdout_samples_per_prompt": 6,
            "fresh_samples_per_prompt": 0,
        },
        "training": {
            "method": "pool_gradient",
            "steps": 8,
            "prompts_per_step": 3,
            "learning_rate": 1.2e-3,
            "evaluate_every": 4,
        },
        "max_group_size": 50,
    },
)
TITLE = "What a misreport gains on SmolLM2, with and without payments"
PROMPTS = 12
"""Of the demo's; half of them make the rounds and their trainings last half as long."""

_TOLERANCE = 1e-9
"""Agent·reward units: what sums of float64 may carry."""


def audited_round(
    operator: Truthtune,
    members: list[Member],
    sizes: tuple[int, ...],
    setup: DemoRound,
    console: Console,
) -> tuple[Outcome, AuditResult]:
    """One round with these sizes from the announcement to its audit."""
    round_ = scenario.open_round(operator, "smollm2-135m-instruct", setup)
    for member, size in zip(members, sizes, strict=True):
        sized = replace(member, setup=replace(member.setup, size=size))
        scenario.report(sized, round_.id, setup)
    names = {member.group_id: member.setup.name for member in members}
    scenario.run_job(operator, round_.id, console, names)
    liar = members[0].group_id
    retrain = [
        Misreport(group_id=liar, strategy=strategy, parameter=parameter)
        for strategy, parameter in RETRAINED
    ]
    audit = operator.audits.create(round_.id, AuditCreate(retrain=retrain))
    job = operator.jobs.wait(audit.job_id)
    if job.status != "succeeded":
        sys.exit(f"the audit of {round_.id} {job.status}: {job.error}")
    result = operator.audits.get(audit.id).result
    assert result is not None, "a succeeded audit has its result"
    return operator.rounds.outcome(round_.id), result


def _fewer_prompts(folder: Path) -> Path:
    lines = SMOLLM2.prompts.read_text().splitlines()[:PROMPTS]
    file = folder / "prompts.jsonl"
    file.write_text("\n".join(lines) + "\n")
    return file


def figures(outcome: Outcome, result: AuditResult) -> dict[str, Any]:
    best = max(result.misreports, key=lambda line: line.gain_without_payments)
    return {
        "misreports": len(result.misreports),
        "largest_gain_with_payments": result.largest_gain,
        "largest_gain_without_payments": result.largest_gain_without_payments,
        "best_without_payments": f"{best.strategy} {best.parameter:g}",
        "largest_gain_retrained": result.largest_gain_retrained,
        "certificate": outcome.certificate.largest_gain,
    }


def main() -> None:
    console = Console(width=100)
    started = time.monotonic()
    results: dict[str, AuditResult] = {}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        service = stack.enter_context(DemoService(Path(home)))
        key = service.run("key", "create-operator", "--name", "audit")
        operator = stack.enter_context(Truthtune(service.url, key))
        setup = replace(SETUP, prompts=_fewer_prompts(Path(home)))
        members = scenario.register_groups(operator, service.url, setup, stack)
        for sizes in SIZES:
            console.rule(f"sizes {sizes}", align="left")
            outcome, result = audited_round(operator, members, sizes, setup, console)
            title = f"sizes {sizes[0]} and {sizes[1]}"
            results[title], found[title] = result, figures(outcome, result)
        names = {member.group_id: member.setup.name for member in members}
        FIGURE.parent.mkdir(exist_ok=True)
        FIGURE.write_bytes(plots.incentive_figure(results, names, TITLE))
    record("incentives", {"seconds": time.monotonic() - started, "sizes": found})
    gaining = {t for t, each in found.items() if each["largest_gain_with_payments"] > _TOLERANCE}
    idle = {t for t, each in found.items() if each["largest_gain_without_payments"] <= _TOLERANCE}
    beyond = {
        title
        for title, each in found.items()
        if (each["largest_gain_retrained"] or 0.0) > each["certificate"] + _TOLERANCE
    }
    if beyond:
        sys.exit(f"a lie gains more than the certificate of {beyond}")
    if gaining or idle:
        sys.exit(f"the claim does not hold: with payments {gaining} gain, without {idle} don't")


if __name__ == "__main__":
    main()
