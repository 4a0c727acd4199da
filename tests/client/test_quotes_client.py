"""Quotes and previews in the client and on the command line, over answers that a test scripts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from client_support import Answer, Script

from api_schemas import examples
from api_schemas.errors import Conflict, NotFound
from api_schemas.previews import PreviewResult
from api_schemas.quotes import Quote, QuoteCreate, QuoteResult
from api_schemas.reports import ReportPut
from client import Truthtune
from client.preview_tables import preview_parts
from client.problems import JobFailed
from client.quote_tables import bytes_text, quote_parts, seconds_text

ROOT = Path(__file__).parent.parent.parent
ROUND_ID = examples.ROUND["id"]
QUOTE, PREVIEW = examples.QUOTE, examples.PREVIEW
UNFINISHED = {"status": "queued", "result": None}
REPORT = ReportPut.model_validate(
    {
        "size": 7,
        "reward_model": {"type": "lexical", "features": [{"type": "length", "target_words": 9}]},
    }
)
SPEC = '{"type": "lexical", "features": [{"type": "length", "target_words": 9}]}'


def answer(body: Any) -> Answer:
    return Answer(200, json.dumps(body).encode())


def ended(made: dict[str, Any], status: str = "succeeded") -> list[Answer]:
    """What a client asks that waits for a job: its stream, then the job."""
    event = examples.JOB_EVENT | {"sequence": 1, "type": f"job_{status}", "message": status}
    error = {"code": "machine_failed", "message": "no such luck"} if status == "failed" else None
    finished = {"id": made["job_id"], "status": status, "error": error}
    stream = Answer(200, f"data: {json.dumps(event)}\n\n".encode())
    return [stream, answer(examples.JOB | finished)]


def truthtune(script: Script, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"TRUTHTUNE_URL": script.url, "TRUTHTUNE_API_KEY": "tt_op_test"}
    command = [sys.executable, "-m", "client.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)


def test_a_quote_is_asked_for_and_waited_for(scripted: Truthtune, script: Script) -> None:
    script.answers = [answer(QUOTE | UNFINISHED), answer(QUOTE | UNFINISHED)]
    script.answers += [*ended(QUOTE), answer(QUOTE)]
    made = scripted.quotes.create(ROUND_ID, QuoteCreate(groups=3))
    assert made.result is None
    assert scripted.quotes.wait(made.id) == Quote.model_validate(QUOTE)
    assert script.asked[0].path == f"/v1/rounds/{ROUND_ID}/quote"
    sent = json.loads(script.asked[0].body)
    assert sent == {"groups": 3, "price_per_device_hour_micro_units": None}
    assert script.asked[0].headers["idempotency-key"]
    assert script.asked[-1].path == f"/v1/quotes/{made.id}"


def test_a_preview_is_asked_for_waited_for_and_forgotten(
    scripted: Truthtune, script: Script
) -> None:
    script.answers = [answer(PREVIEW | UNFINISHED), answer(PREVIEW | UNFINISHED)]
    script.answers += [*ended(PREVIEW), answer(PREVIEW), answer(examples.PREVIEW_DELETED)]
    made = scripted.previews.create(ROUND_ID, REPORT)
    done = scripted.previews.wait(made.id)
    assert done.result is not None
    assert done.result.scored is not None
    assert scripted.previews.delete(made.id).deleted
    asked = [(each.method, each.path) for each in script.asked]
    assert asked[0] == ("POST", f"/v1/rounds/{ROUND_ID}/report/preview")
    assert ReportPut.model_validate_json(script.asked[0].body) == REPORT
    assert asked[-1] == ("DELETE", f"/v1/report-previews/{made.id}")


def test_waiting_for_what_failed_tells_why(scripted: Truthtune, script: Script) -> None:
    script.answers = [answer(QUOTE | UNFINISHED), *ended(QUOTE, "failed")]
    with pytest.raises(JobFailed, match="no such luck"):
        scripted.quotes.wait(QUOTE["id"])


def test_the_running_service_answers_both(group: Truthtune, operator: Truthtune) -> None:
    with pytest.raises(NotFound):
        operator.quotes.create("rnd_" + "0" * 26)
    with pytest.raises(NotFound):
        group.previews.create("rnd_" + "0" * 26, REPORT)
    with pytest.raises(NotFound):
        group.previews.get("prv_" + "0" * 26)
    with pytest.raises((Conflict, NotFound)):
        group.previews.delete("prv_" + "0" * 26)


def test_the_command_shows_every_stage_with_its_range(script: Script) -> None:
    script.answers = [answer(QUOTE | UNFINISHED), *ended(QUOTE), answer(QUOTE)]
    done = truthtune(script, "round", "quote", ROUND_ID, "--groups", "3")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "train 72 s 54 s 90 s 12 steps × 5.50 s + 3 evaluations × 2.00 s" in lines
    assert "device hours: 0.02 (0.015 to 0.025) hours of NVIDIA H200" in lines
    assert "cost: 0.050000 EUR, from 0.037500 EUR to 0.062500 EUR" in lines


def test_the_command_draws_a_preview_and_prints_json(script: Script, tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(SPEC)
    asked = ("report", "preview", ROUND_ID, "--size", "7", "--spec", spec)
    script.answers = [answer(PREVIEW | UNFINISHED), *ended(PREVIEW), answer(PREVIEW)]
    done = truthtune(script, *asked)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert f"0.00 0.25 2 {'█' * 40}" in lines
    assert f"0.50 0.75 1 {'█' * 20}" in lines
    assert any(line.startswith("1.000 1.25 How do I reset my password?") for line in lines)
    script.answers = [answer(PREVIEW | UNFINISHED), *ended(PREVIEW), answer(PREVIEW)]
    shown = truthtune(script, *asked, "--json")
    assert json.loads(shown.stdout) == PREVIEW


def test_a_report_that_would_be_excluded_is_shown_with_the_reason() -> None:
    result = PreviewResult.model_validate(
        PREVIEW["result"] | {"scored": None, "excluded": "its reward model failed"}
    )
    (line,) = preview_parts(result)
    assert "would exclude this report, for its reward model failed" in str(line)


def test_a_quote_without_a_price_names_no_cost() -> None:
    result = QuoteResult.model_validate(QUOTE["result"] | {"cost": None})
    assert not any("cost" in str(part) for part in quote_parts(result))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.1234, "0.123 s"), (42.4, "42 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_seconds_are_told_as_people_do(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 B"), (1500, "1.5 kB"), (2_340_000, "2.34 MB"), (10**10, "10 GB")]
)
def test_bytes_are_told_with_three_digits(count: int, text: str) -> None:
    assert bytes_text(count) == text
