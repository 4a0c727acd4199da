"""`truthtune audit`, `round certificate` and `job plot`, over answers that a test scripts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from client_support import Answer, Script

from api_schemas import examples
from api_schemas.audits import Audit, AuditCreate, AuditResult
from api_schemas.errors import NotFound
from client import Truthtune
from client.audit_tables import conclusion

ROOT = Path(__file__).parent.parent.parent
PLOT = b"<svg/>"
GROUP_ID, ROUND_ID = examples.GROUP["id"], examples.ROUND["id"]
AUDIT_ID, JOB_ID = examples.AUDIT["id"], examples.AUDIT["job_id"]
UNFINISHED = examples.AUDIT | {"result": None, "result_digest": None, "plot_digest": None}
STAGES = [
    {"name": name, "status": "done", "seconds": 1.0, "digest": None}
    for name in ("replay", "retrain", "publish")
]
JOB = examples.JOB | {
    "id": JOB_ID,
    "kind": "audit",
    "audit_id": AUDIT_ID,
    "status": "succeeded",
    "stages": STAGES,
    "finished_at": "2030-01-09T10:01:00.000Z",
}
FAILED = JOB | {"status": "failed", "error": {"code": "bad", "message": "no such stage"}}
RESULT = AuditResult.model_validate(examples.AUDIT["result"])


def answer(body: Any) -> Answer:
    return Answer(200, json.dumps(body).encode())


def groups() -> Answer:
    ids = {"first_id": GROUP_ID, "last_id": GROUP_ID}
    return answer({"object": "list", "data": [examples.GROUP], "has_more": False} | ids)


def events(last: str) -> Answer:
    told = [
        examples.JOB_EVENT | {"sequence": 1, "type": "stage_started", "message": "replay began"}
    ]
    told.append(examples.JOB_EVENT | {"sequence": 2, "type": last, "message": last})
    return Answer(200, "".join(f"data: {json.dumps(event)}\n\n" for event in told).encode())


def truthtune(script: Script, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"TRUTHTUNE_URL": script.url, "TRUTHTUNE_API_KEY": "tt_op_test"}
    command = [sys.executable, "-m", "client.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)


def test_an_audit_is_followed_shown_and_written(script: Script, tmp_path: Path) -> None:
    script.answers = [
        groups(),
        answer(UNFINISHED),
        events("job_succeeded"),
        answer(JOB),
        answer(examples.AUDIT),
        Answer(200, PLOT),
    ]
    out, plot = tmp_path / "audit.json", tmp_path / "audit.svg"
    done = truthtune(script, "audit", ROUND_ID, "--alpha", "2", "--out", out, "--plot", plot)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert any(line.endswith("stage_started replay began") for line in lines)
    best = "inflate α=2 (size 14)"
    assert f"teachers -0.3125 {best} 0.4375 {best}" in lines
    sentence = (
        "Of 1 misreports on the pool, none gains with payments; without them one gains 0.4375."
    )
    assert sentence in lines
    assert Audit.model_validate_json(out.read_text()) == Audit.model_validate(examples.AUDIT)
    assert plot.read_bytes() == PLOT
    assert [(asked.method, asked.path) for asked in script.asked[1:]] == [
        ("POST", f"/v1/rounds/{ROUND_ID}/audits"),
        ("GET", f"/v1/jobs/{JOB_ID}/events/stream"),
        ("GET", f"/v1/jobs/{JOB_ID}"),
        ("GET", f"/v1/audits/{AUDIT_ID}"),
        ("GET", f"/v1/audits/{AUDIT_ID}/plot.svg"),
    ]
    assert script.asked[1].headers["idempotency-key"]


def test_every_option_reaches_the_service_and_groups_may_be_named(script: Script) -> None:
    script.answers = [groups(), answer(UNFINISHED)]
    options = ["--group", "teachers", "--alpha", "0.5", "--alpha", "3", "--no-spike"]
    options += ["--sharpen-beta", "4", "--oppose-beta", "1", "--retrain", "teachers:oppose:0.5"]
    done = truthtune(script, "audit", ROUND_ID, *options, "--no-wait", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == AUDIT_ID
    assert json.loads(script.asked[1].body) == {
        "group_ids": [GROUP_ID],
        "alphas": [0.5, 3.0],
        "sharpen_betas": [4.0],
        "oppose_betas": [1.0],
        "spike": False,
        "retrain": [{"group_id": GROUP_ID, "strategy": "oppose", "parameter": 0.5}],
    }


def test_without_options_the_services_own_defaults_are_asked_for(script: Script) -> None:
    script.answers = [groups(), answer(UNFINISHED)]
    assert truthtune(script, "audit", ROUND_ID, "--no-wait").returncode == 0
    assert json.loads(script.asked[1].body) == AuditCreate().model_dump(mode="json")


def test_json_is_all_that_is_printed_where_it_is_asked_for(script: Script) -> None:
    script.answers = [
        groups(),
        answer(UNFINISHED),
        events("job_succeeded"),
        answer(JOB),
        answer(examples.AUDIT),
    ]
    done = truthtune(script, "audit", ROUND_ID, "--json")
    assert json.loads(done.stdout) == examples.AUDIT


def test_an_audit_that_fails_ends_the_command_with_1_and_its_reason(
    script: Script, tmp_path: Path
) -> None:
    script.answers = [groups(), answer(UNFINISHED), events("job_failed"), answer(FAILED)]
    out = tmp_path / "audit.json"
    done = truthtune(script, "audit", ROUND_ID, "--out", out)
    assert done.returncode == 1
    assert f"job {JOB_ID} failed: no such stage" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--retrain", "teachers"], "--retrain 'teachers' is not GROUP:STRATEGY:PARAMETER"),
        (["--retrain", "teachers:lie:2"], "retrain.0.strategy"),
        (["--retrain", "teachers:inflate:much"], "retrain.0.parameter"),
        (["--retrain", "parents:inflate:2"], "retrain.0.group_id"),
        (["--group", "parents"], "group_ids.0"),
        (["--alpha", "0"], "alphas.0: Input should be greater than 0, not 0"),
        (["--no-wait", "--plot", "x.svg"], "leave --no-wait out"),
    ],
)
def test_what_cannot_be_audited_is_named_before_the_service_is_asked(
    script: Script, options: list[str], words: str
) -> None:
    script.answers = [groups()]
    done = truthtune(script, "audit", ROUND_ID, *options)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert all(asked.method == "GET" for asked in script.asked)


def test_a_certificate_is_shown_with_its_figures_and_digests(script: Script) -> None:
    script.answers = [answer(examples.CERTIFICATE), answer(examples.CERTIFICATE)]
    shown = truthtune(script, "round", "certificate", ROUND_ID)
    assert shown.returncode == 0, shown.stderr
    text = " ".join(shown.stdout.split())
    for part in (
        examples.CERTIFICATE["certificate"]["guarantee"],
        "no misreport gains more than 0.5000 agent·reward units",
        examples.CERTIFICATE["certificate"]["figures"],
        "grand 0.5000 14.5 6.2 0 0.325",
        "0.625 below the optimum there, at KL 0.844",
        f"{GROUP_ID} 7 0.0312 0.4375",
        "1 audits: the largest gain of a misreport is -0.3125, without payments 0.4375",
        f"stage settle {examples.CERTIFICATE['digests']['outcome']}",
    ):
        assert part in text
    as_json = truthtune(script, "round", "certificate", ROUND_ID, "--json")
    assert json.loads(as_json.stdout) == examples.CERTIFICATE


def test_a_certificate_as_a_group_sees_it_is_shown_without_what_it_lacks(script: Script) -> None:
    digests = examples.CERTIFICATE["digests"] | {"outcome": None, "stages": None}
    hidden = {"worlds": [], "holdout": None, "audited": None, "digests": digests}
    script.answers = [answer(examples.CERTIFICATE | hidden)]
    shown = truthtune(script, "round", "certificate", ROUND_ID)
    assert shown.returncode == 0, shown.stderr
    assert "no audit has finished" in shown.stdout
    for absent in ("grand", "held-out", "outcome", "stage"):
        assert absent not in shown.stdout


def test_a_trainings_graph_is_written_to_the_file_that_was_named(
    script: Script, tmp_path: Path
) -> None:
    script.answers = [Answer(200, PLOT), Answer(200, PLOT)]
    out = tmp_path / "drift.svg"
    assert truthtune(script, "job", "plot", JOB_ID, "--out", out).returncode == 0
    assert out.read_bytes() == PLOT
    assert script.asked[0].path == f"/v1/jobs/{JOB_ID}/plots/reward_drift.svg"
    refused = truthtune(script, "job", "plot", JOB_ID, "--out", tmp_path / "absent" / "drift.svg")
    assert refused.returncode == 1
    assert "can't be written: No such file" in refused.stderr


def test_a_job_is_watched_by_the_stages_that_it_has(script: Script) -> None:
    script.answers = [answer(JOB), events("job_succeeded"), answer(JOB)]
    assert truthtune(script, "job", "watch", JOB_ID).returncode == 0
    assert [asked.path.rpartition("/")[2] for asked in script.asked] == [JOB_ID, "stream", JOB_ID]


def changed(**changes: Any) -> AuditResult:
    return RESULT.model_copy(update=changes)


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (RESULT, "none gains with payments; without them one gains 0.4375."),
        (changed(largest_gain=1e-12), "none gains with payments; without them one gains 0.4375."),
        (changed(largest_gain_without_payments=0.0), "none gains, with payments or without."),
        (changed(largest_gain=0.25), "one gains 0.25 in spite of the payments."),
        (
            changed(misreports=[], largest_gain=None, largest_gain_without_payments=None),
            "the round would refuse them all.",
        ),
    ],
)
def test_the_conclusion_says_what_the_figures_do(result: AuditResult, sentence: str) -> None:
    assert conclusion(result).endswith(sentence)


def test_the_real_service_has_every_route_that_the_client_asks(operator: Truthtune) -> None:
    """Each refuses what is unknown by the name of that, not by its own address."""
    round_id, audit_id, job_id = ("rnd_" + "0" * 26, "aud_" + "0" * 26, "job_" + "0" * 26)
    for ask, unknown in (
        (lambda: operator.audits.create(round_id), round_id),
        (lambda: list(operator.audits.list(round_id)), round_id),
        (lambda: operator.audits.get(audit_id), audit_id),
        (lambda: operator.audits.plot(audit_id), audit_id),
        (lambda: operator.rounds.certificate(round_id), round_id),
        (lambda: operator.jobs.plot(job_id), job_id),
    ):
        with pytest.raises(NotFound, match=f"there is no .*{unknown}"):
            ask()
