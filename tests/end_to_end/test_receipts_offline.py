"""What a group downloads of a settled round, checked by `truthtune receipt verify` alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import People, SettledRound
from processes import Processes
from pydantic import BaseModel

from client import Truthtune

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def closed_form(
    processes: Processes, people: People, tmp_path_factory: pytest.TempPathFactory
) -> SettledRound:
    coordinator = processes.coordinator()
    settled, job = people.run(tmp_path_factory.mktemp("closed_form"), counterfactuals="closed_form")
    coordinator.terminate()
    coordinator.wait(30)
    return SettledRound(settled, job, 0.0)


@pytest.mark.parametrize("place", [0, 1])  # with a fitted reward model, with a ready one
def test_every_group_verifies_its_receipt_with_what_it_downloads(
    processes: Processes, people: People, undisturbed: SettledRound, tmp_path: Path, place: int
) -> None:
    _download(processes, people.groups[place], undisturbed, tmp_path)
    found = _verify(tmp_path, with_data=place == 0)
    assert {check for check, (result, _) in found.items() if result != "checked"} == set(), found
    assert {"signature", "inclusion", "report", "certificate", "valuation", "divergence"} <= set(
        found
    )


def test_another_groups_report_is_not_the_one_that_the_receipt_is_bound_to(
    processes: Processes, people: People, undisturbed: SettledRound, tmp_path: Path
) -> None:
    _download(processes, people.groups[1], undisturbed, tmp_path)
    _save(tmp_path, "report", people.groups[2].rounds.get_report(undisturbed.round.id))
    found = _verify(tmp_path, with_data=False, status=1)
    failed = {check for check, (result, _) in found.items() if result == "failed"}
    assert failed == {"report"}
    assert found["valuation"][0] == "not_checked"


@pytest.mark.slow
def test_a_receipt_of_closed_form_says_what_it_cannot_show(
    processes: Processes, people: People, closed_form: SettledRound, tmp_path: Path
) -> None:
    _download(processes, people.groups[1], closed_form, tmp_path)
    found = _verify(tmp_path, with_data=False)
    unchecked = {check for check, (result, _) in found.items() if result == "not_checked"}
    assert unchecked == {"valuation"}, found
    assert found["valuation bounds"][0] == "checked"


def _download(processes: Processes, group: Truthtune, settled: SettledRound, folder: Path) -> None:
    round_ = settled.round
    (invoice,) = [each for each in group.invoices.list() if each.round_id == round_.id]
    _save(folder, "receipt", group.receipts.get(invoice.receipt_id))
    _save(folder, "report", group.rounds.get_report(round_.id))
    _save(folder, "round", group.rounds.get(round_.id))
    _save(folder, "certificate", group.rounds.certificate(round_.id))
    keys = httpx.get(f"{processes.url}/v1/keys/signing").raise_for_status()
    (folder / "keys.json").write_bytes(keys.content)
    group.models.download(round_.model_id, folder / "adapter")
    group.rounds.download_pool(round_.id, folder / "pool")
    for file in group.files.list():
        (folder / "data").write_bytes(group.files.content(file.id))


def _verify(folder: Path, *, with_data: bool, status: int = 0) -> dict[str, tuple[str, str]]:
    """In a process of its own, without the service's address or a key."""
    options: list[Any] = ["--public-key", folder / "keys.json"]
    for name in ("report", "round", "certificate"):
        options += [f"--{name}", folder / f"{name}.json"]
    for name in ("adapter", "pool", *(["data"] if with_data else [])):
        options += [f"--{name}", folder / name]
    command = [sys.executable, "-m", "client.cli", "receipt", "verify", folder / "receipt.json"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRUTHTUNE_URL")}
    done = subprocess.run(
        [*map(str, command), *map(str, options), "--json"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == status, done.stdout + done.stderr
    findings = json.loads(done.stdout)["findings"]
    return {each["check"]: (each["result"], each["detail"]) for each in findings}


def _save(folder: Path, name: str, document: BaseModel) -> None:
    """As the command line prints it with --json."""
    text = json.dumps(document.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text)
