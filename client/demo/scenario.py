"""The demo's steps, each as a user would take it: through the client, over HTTP."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel
from rich.console import Console

from api_schemas.preference_methods import TfidfBradleyTerry
from api_schemas.reports import ReportPut
from api_schemas.reward_models import PreferenceDataSpec, RewardModelSpec
from api_schemas.rounds import Round, RoundCreate
from client.client import Truthtune
from client.demo import checks
from client.demo.acting import DemoFailed
from client.demo.settings import DemoGroup, DemoRound
from client.outcome_tables import (
    agreement_table,
    group_table,
    invoice_table,
    receipt_table,
    summary_lines,
    world_outcome_table,
)
from client.progress import JobProgress

COMPARE_ANSWERS = Path(__file__).with_name("compare_answers.py")


@dataclass(frozen=True)
class Member:
    """A registered group and its client."""

    setup: DemoGroup
    group_id: str
    secret: str
    client: Truthtune


def register_groups(
    operator: Truthtune, url: str, setup: DemoRound, stack: ExitStack
) -> list[Member]:
    """Each group gets a key, and a client that lives as long as `stack`."""
    members = []
    for group in setup.groups:
        group_id = operator.groups.create(group.name).id
        secret = operator.groups.create_key(group_id, "demo").secret
        members.append(Member(group, group_id, secret, stack.enter_context(Truthtune(url, secret))))
    return members


def open_round(operator: Truthtune, base_model: str, setup: DemoRound) -> Round:
    prompts = operator.files.upload(setup.prompts, "prompts")
    announcement = RoundCreate.model_validate(
        {"base_model": base_model, "prompts_file_id": prompts.id} | setup.announcement
    )
    return operator.rounds.open(operator.rounds.create(announcement).id)


def report(member: Member, round_id: str, setup: DemoRound) -> str:
    """Submit the group's report; returns a line that tells what it was."""
    spec: RewardModelSpec
    if member.setup.lexical is None:
        file = member.client.files.upload(setup.preferences, "preferences")
        method = TfidfBradleyTerry(name="tfidf_bradley_terry")
        spec = PreferenceDataSpec(type="preference_data", file_id=file.id, method=method)
        told = f"{file.lines} preference pairs"
    else:
        spec = member.setup.lexical
        told = f"a lexical reward model ({', '.join(f.type for f in spec.features)})"
    member.client.rounds.put_report(round_id, ReportPut(size=member.setup.size, reward_model=spec))
    return f"{member.setup.name}: {member.setup.size} agents, {told}"


def run_job(operator: Truthtune, round_id: str, console: Console, names: dict[str, str]) -> None:
    """Close the round and show its job until the end. Raises DemoFailed unless it succeeds."""
    job_id = operator.rounds.close(round_id).job_id
    if job_id is None:
        raise DemoFailed(f"round {round_id} closed, but has no job")
    with JobProgress(console, names) as progress:
        job = operator.jobs.wait(job_id, progress.show)
    for stage in job.stages:
        console.print(f"  {stage.name:<12} {stage.seconds or 0:7.1f} s", highlight=False)
    if job.status != "succeeded":
        raise DemoFailed(f"job {job_id} {job.status}: {job.error.message if job.error else '-'}")


def show_results(
    operator: Truthtune,
    members: Sequence[Member],
    round_id: str,
    setup: DemoRound,
    console: Console,
) -> Round:
    """Print the tables, and check what must hold. Raises DemoFailed naming what does not."""
    names = {member.group_id: member.setup.name for member in members}
    round_, outcome = operator.rounds.get(round_id), operator.rounds.outcome(round_id)
    invoices = [invoice for member in members for invoice in member.client.invoices.list()]
    receipts = [receipt for member in members for receipt in member.client.receipts.list()]
    console.print(group_table(outcome, names), world_outcome_table(outcome, names))
    if (agreement := agreement_table(outcome, names)) is not None:
        console.print(agreement)
    console.print("\n".join(summary_lines(outcome, names)), highlight=False)
    console.print(invoice_table(invoices, names))
    for receipt in receipts[:1]:
        console.print(receipt_table(receipt, names))
    sizes = {member.group_id: member.setup.size for member in members}
    least = setup.least_gain_standard_errors
    found = checks.complaints(round_, sizes, outcome, invoices, receipts, least)
    found += _privacy_complaints(members, round_id)
    if found:
        raise DemoFailed("; ".join(found))
    console.print(
        f"[green]every check on {len(outcome.groups)} groups, {len(outcome.worlds)} worlds, "
        f"{len(invoices)} invoices and their receipts holds"
    )
    return round_


def verify_receipt(member: Member, round_: Round, folder: Path) -> str:
    """Save what a group holds of its round, and check its receipt with it: a process that asks
    nobody. Raises DemoFailed unless it holds."""
    rounds = member.client.rounds
    held: dict[str, BaseModel] = {
        "report": rounds.get_report(round_.id),
        "round": round_,
        "certificate": rounds.certificate(round_.id),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in held.items():
        (folder / f"{name}.json").write_text(value.model_dump_json())
    keys = [key.model_dump(mode="json") for key in member.client.signing_keys.list()]
    (folder / "keys.json").write_text(json.dumps(keys))
    (receipt,) = member.client.receipts.list()
    (folder / "receipt.json").write_text(receipt.model_dump_json())
    options = [f"--{name}={folder / name}.json" for name in held]
    command = [sys.executable, "-m", "client.cli", "receipt", "verify", f"{folder}/receipt.json"]
    done = subprocess.run(
        [*command, f"--public-key={folder}/keys.json", *options], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise DemoFailed(f"a receipt does not hold:\n{done.stdout}{done.stderr}")
    return done.stdout.rstrip()


def compare(
    member: Member, round_: Round, base_model_folder: Path, folder: Path, setup: DemoRound
) -> str:
    """Download the adapter as a group, and ask it in a process without any code of ours."""
    if round_.model_id is None:
        raise DemoFailed(f"round {round_.id} is settled, but has no model")
    adapter = member.client.models.download(round_.model_id, folder)
    tokens = str(round_.announcement.generation.max_new_tokens)
    command = [sys.executable, "-I", str(COMPARE_ANSWERS), str(adapter), str(base_model_folder)]
    done = subprocess.run(
        [*command, tokens, *setup.compared_prompts], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise DemoFailed(f"the adapter could not be used:\n{done.stderr.strip()}")
    return done.stdout.rstrip()


def _privacy_complaints(members: Sequence[Member], round_id: str) -> list[str]:
    """A group must see no line but its own."""
    return [
        f"{member.setup.name} sees the lines of {sorted(seen)}"
        for member in members
        if (seen := {line.group_id for line in member.client.rounds.outcome(round_id).groups})
        != {member.group_id}
    ]
