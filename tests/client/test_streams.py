"""Event streams and downloads over connections that break off."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from client_support import Answer, Script

from api_schemas import examples
from api_schemas.errors import InvalidInput
from api_schemas.jobs import STAGES
from client import Truthtune, jobs
from client.downloads import DamagedDownload
from client.event_stream import EventParser
from client.problems import Unreachable

JOB_ID = "job_" + "0" * 26
MODEL_ID = "mdl_" + "0" * 26
ROUND_ID = "rnd_" + "0" * 26
NOW = "2026-01-01T00:00:00Z"
DATA = bytes(range(256)) * 40
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


def sse(*events: tuple[int, str]) -> bytes:
    text = ": ping\n\n"
    for sequence, kind in events:
        body = {
            "object": "job.event",
            "id": "evt_" + "0" * 26,
            "sequence": sequence,
            "type": kind,
            "level": "info",
            "message": kind,
            "data": {},
            "created_at": NOW,
        }
        text += f"id: {sequence}\nevent: {kind}\ndata: {json.dumps(body)}\n\n"
    return text.encode()


def job(finished: bool) -> Answer:
    body = {
        "object": "job",
        "id": JOB_ID,
        "round_id": ROUND_ID,
        "status": "succeeded" if finished else "running",
        "stages": [
            {"name": name, "status": "done", "seconds": 1.0, "digest": None} for name in STAGES
        ],
        "attempts": 1,
        "cancel_requested": False,
        "error": None,
        "created_at": NOW,
        "started_at": NOW,
        "finished_at": NOW if finished else None,
    }
    return Answer(200, json.dumps(body).encode())


def model(**changes: Any) -> Answer:
    file = {"name": "adapter_model.safetensors", "bytes": len(DATA), "sha256": DIGEST} | changes
    body = examples.MODEL | {"id": MODEL_ID, "files": [file]}
    return Answer(200, json.dumps(body).encode())


def test_a_stream_that_breaks_off_goes_on_behind_the_last_event_without_repeating_one(
    scripted: Truthtune, script: Script
) -> None:
    first = sse((1, "job_queued"), (2, "job_claimed"))
    script.answers = [
        Answer(200, first, promised=len(first) + 100),
        Answer(200, sse((2, "job_claimed"), (3, "stage_started"), (4, "job_succeeded"))),
    ]
    assert [event.sequence for event in scripted.jobs.stream(JOB_ID)] == [1, 2, 3, 4]
    assert "last-event-id" not in script.asked[0].headers
    assert script.asked[1].headers["last-event-id"] == "2"


def test_a_stream_ended_by_a_restart_of_the_service_is_taken_up_again(
    scripted: Truthtune, script: Script
) -> None:
    script.answers = [
        Answer(200, sse((1, "job_claimed"))),
        Answer(200, sse()),
        job(finished=False),
        Answer(200, sse((2, "job_succeeded"))),
    ]
    assert [event.sequence for event in scripted.jobs.stream(JOB_ID)] == [1, 2]


def test_a_failure_that_was_retried_does_not_end_the_stream(
    scripted: Truthtune, script: Script
) -> None:
    script.answers = [Answer(200, sse((1, "job_failed"), (2, "job_queued"), (3, "job_succeeded")))]
    assert [event.sequence for event in scripted.jobs.stream(JOB_ID)] == [1, 2, 3]


def test_a_stream_behind_the_last_event_of_a_finished_job_ends(
    scripted: Truthtune, script: Script
) -> None:
    script.answers = [Answer(200, sse()), job(finished=True)]
    assert list(scripted.jobs.stream(JOB_ID, after=9)) == []


def test_a_service_that_stays_away_ends_the_stream_with_an_error(
    scripted: Truthtune, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_LOST_CONNECTIONS", 2)
    script.answers = [Answer(200, b": ping\n\n", promised=500)] * 3
    with pytest.raises(Unreachable):
        list(scripted.jobs.stream(JOB_ID))
    assert len(script.answers) == 1


def test_an_event_of_several_lines_is_put_together_and_an_unfinished_one_dropped() -> None:
    parser = EventParser()
    assert list(parser.take(b"data: one\ndata:two\n\n:ping\n\nid: 7\ndata: lost")) == ["one\ntwo"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_come_out_whole_wherever_the_network_cuts_them(end: str) -> None:
    """U+2028 is no end of a line here, and stands unescaped in JSON."""
    stream = f"data: é\u2028λ{end}{end}data: two{end}{end}".encode()
    parser = EventParser()
    found = [data for byte in stream for data in parser.take(bytes([byte]))]
    # Only what follows a last \r tells whether it ends a line alone.
    found += parser.take(b":" if end == "\r" else b"")
    assert found == ["é\u2028λ", "two"]


def test_a_download_that_breaks_off_asks_for_the_rest_and_is_whole(
    scripted: Truthtune, script: Script, tmp_path: Path
) -> None:
    half = len(DATA) // 2
    rest = {"Content-Range": f"bytes {half}-{len(DATA) - 1}/{len(DATA)}"}
    script.answers = [
        model(),
        Answer(200, DATA[:half], promised=len(DATA)),
        Answer(206, DATA[half:], rest),
    ]
    folder = scripted.models.download(MODEL_ID, tmp_path / "adapter")
    assert (folder / "adapter_model.safetensors").read_bytes() == DATA
    assert script.asked[2].headers["range"] == f"bytes={half}-"
    assert script.asked[2].headers["if-range"] == f'"{DIGEST}"'
    assert [path.name for path in folder.iterdir()] == ["adapter_model.safetensors"]


def test_a_partial_file_of_something_else_is_replaced_not_continued(
    scripted: Truthtune, script: Script, tmp_path: Path
) -> None:
    (tmp_path / "adapter_model.safetensors.partial").write_bytes(b"of another model")
    script.answers = [model(), Answer(200, DATA)]  # If-Range did not match: all of it
    scripted.models.download(MODEL_ID, tmp_path)
    assert (tmp_path / "adapter_model.safetensors").read_bytes() == DATA


def test_a_damaged_download_leaves_no_file_under_its_name(
    scripted: Truthtune, script: Script, tmp_path: Path
) -> None:
    script.answers = [model(), Answer(200, DATA[::-1])]
    with pytest.raises(DamagedDownload, match=r"adapter_model\.safetensors"):
        scripted.models.download(MODEL_ID, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_already_is_not_fetched_again(
    scripted: Truthtune, script: Script, tmp_path: Path
) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(DATA)
    script.answers = [model()]
    scripted.models.download(MODEL_ID, tmp_path)
    assert len(script.asked) == 1


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", ""])
def test_a_model_cannot_write_outside_of_the_folder(
    scripted: Truthtune, script: Script, tmp_path: Path, name: str
) -> None:
    script.answers = [model(name=name)]
    with pytest.raises(InvalidInput, match="unsafe name"):
        scripted.models.download(MODEL_ID, tmp_path)
