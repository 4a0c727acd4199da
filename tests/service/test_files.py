"""Uploads are whole and valid or leave nothing; downloads carry their digest."""

import base64
import hashlib
import io
import json
import pickle
import struct
from pathlib import Path

import httpx2
import pyarrow.parquet
import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient
from support import MakeGroup, OpenRound, UploadPrompts, upload_jsonl

from service.dependencies import AppState
from service.tables import FileRow

PROMPTS = b'{"prompt": "red"}\n{"prompt": "blue"}\n'


def test_an_upload_keeps_the_bytes_and_their_digest(operator: TestClient) -> None:
    created = _upload(operator, "prompts", PROMPTS)
    assert created.status_code == 201
    file = created.json()
    assert (file["bytes"], file["lines"]) == (len(PROMPTS), 2)
    assert file["sha256"] == f"sha256:{hashlib.sha256(PROMPTS).hexdigest()}"
    content = operator.get(f"/v1/files/{file['id']}/content")
    assert content.content == PROMPTS
    assert content.headers["ETag"] == f'"{file["sha256"]}"'
    digest = base64.b64encode(hashlib.sha256(PROMPTS).digest()).decode()
    assert content.headers["Repr-Digest"] == f"sha-256=:{digest}:"


@pytest.mark.parametrize(
    ("purpose", "data", "reasons"),
    [
        ("prompts", b'{"prompt": "a"}\n{"prompt": \n', ["line 2"]),
        ("prompts", b'{"prompt": "a"}\n\n{"question": "b"}\n', ["line 3", "prompt"]),
        ("prompts", b"", ["no line"]),
        ("prompts", b'{"prompt": "\xff"}', ["line 1", "UTF-8"]),
        ("preferences", b'{"prompt": "a", "chosen": "b"}', ["line 1", "rejected"]),
        ("prompts", b'{"prompt": "' + b"x" * 40_000 + b'"}', ["line 1", "32768"]),
    ],
)
def test_a_malformed_line_is_named_and_nothing_is_stored(
    operator: TestClient, state: AppState, purpose: str, data: bytes, reasons: list[str]
) -> None:
    refused = _upload(operator, purpose, data)
    assert refused.status_code == 422
    assert refused.json()["param"] == "file"
    for reason in reasons:
        assert reason in refused.json()["detail"]
    assert _stored(state) == (0, 0)


def test_a_file_beyond_the_limit_is_refused_and_nothing_is_stored(
    operator: TestClient, state: AppState
) -> None:
    data = PROMPTS * (state.settings.max_upload_bytes // len(PROMPTS) + 1)
    refused = _upload(operator, "prompts", data)
    assert refused.status_code == 413
    assert refused.json()["code"] == "too_large"
    assert _stored(state) == (0, 0)


def test_reading_stops_at_the_limit_whatever_the_header_says(
    operator: TestClient, state: AppState
) -> None:
    sent = 0

    def endless():  # type: ignore[no-untyped-def]
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        while sent < 100 * state.settings.max_upload_bytes:
            sent += 2**16
            yield b"x" * 2**16

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    refused = operator.post("/v1/files", content=endless(), headers=headers)
    assert refused.status_code == 413
    assert _stored(state) == (0, 0)


@pytest.mark.parametrize(
    ("data", "files", "param"),
    [
        ({}, {"file": ("p.jsonl", PROMPTS)}, "purpose"),
        ({"purpose": "poems"}, {"file": ("p.jsonl", PROMPTS)}, "purpose"),
        ({"purpose": "prompts", "x": "y"}, {"file": ("p.jsonl", PROMPTS)}, "x"),
        ({"purpose": "prompts"}, {"data": ("p.jsonl", PROMPTS)}, "data"),
        ({"purpose": "prompts"}, {"file": ("a\u202eb", PROMPTS)}, "file"),
        ({"purpose": "prompts"}, {"file": ("a" * 256, PROMPTS)}, "file"),
    ],
)
def test_a_wrong_field_is_named(
    operator: TestClient, data: dict[str, str], files: dict[str, tuple[str, bytes]], param: str
) -> None:
    refused = operator.post("/v1/files", data=data, files=files)
    assert refused.status_code == 422
    assert refused.json()["param"] == param


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--b--"),
        ("multipart/form-data; boundary=b", b"no boundary at all"),
    ],
)
def test_a_body_that_is_no_form_is_refused(
    operator: TestClient, content_type: str, body: bytes
) -> None:
    refused = operator.post("/v1/files", content=body, headers={"Content-Type": content_type})
    assert refused.status_code == 422


def test_an_upload_says_what_the_preferences_hold(operator: TestClient) -> None:
    lines = b"prompt,chosen,rejected\np,good,bad\np,good,bad\nq,,bad\n"
    created = _upload(operator, "preferences", lines)
    assert created.status_code == 201
    file = created.json()
    assert file["lines"] == 3
    held = file["validation"]
    assert (held["lines"], held["pairs"], held["prompts"]) == (3, 1, 1)
    assert (held["duplicates"], held["empty_replies"]) == (1, 1)
    assert held["problems"] == [
        {"line": 3, "problem": "says the same as line 2"},
        {"line": 4, "problem": "a reply is empty"},
    ]
    assert operator.get(f"/v1/files/{file['id']}").json() == file
    assert operator.get("/v1/files").json()["data"] == [file]
    assert _upload(operator, "prompts", PROMPTS).json()["validation"] is None


def test_preferences_may_be_parquet(operator: TestClient) -> None:
    data = io.BytesIO()
    votes = {"prompt": ["p"], "responses": [["good", "bad"]], "votes": [[0.8, 0.2]]}
    pyarrow.parquet.write_table(pyarrow.table(votes), data)
    created = _upload(operator, "preferences", data.getvalue())
    assert created.status_code == 201
    assert created.json()["validation"]["pairs"] == 1


def test_a_safetensors_adapter_is_accepted(operator: TestClient) -> None:
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    created = _upload(operator, "adapter", _safetensors({"lora_A": entry}, 16))
    assert created.status_code == 201
    assert created.json()["lines"] is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a safetensors file"),
        (b"adapter" * 100, "not a safetensors file"),
        (pickle.dumps({"lora_A": [1.0]}), "a Python pickle"),
        (struct.pack("<Q", 4) + b"nope", "not JSON"),
        (struct.pack("<Q", 2) + b"[]", "not a JSON object"),
        (struct.pack("<Q", 2) + b"{}", "names no tensor"),
    ],
)
def test_a_file_that_is_not_safetensors_is_refused(
    operator: TestClient, state: AppState, data: bytes, reason: str
) -> None:
    refused = _upload(operator, "adapter", data)
    assert refused.status_code == 422
    assert reason in refused.json()["detail"]
    assert _stored(state) == (0, 0)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 16]}, "16 bytes do not fit"),
        ({"dtype": "I64", "shape": [2], "data_offsets": [0, 16]}, "dtype 'I64'"),
        ({"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}, "the shape [-4]"),
        ({"dtype": "F32", "shape": [3], "data_offsets": [4, 16]}, "starts at byte 4"),
        ({"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}, "the file holds 16"),
        ({"dtype": "F32", "shape": [1] * 9 + [4], "data_offsets": [0, 16]}, "10 dimensions"),
        ({"dtype": "F32"}, "lacks"),
        (7, "lacks"),
    ],
)
def test_a_tensor_that_does_not_fit_the_file_is_named(
    operator: TestClient, entry: object, reason: str
) -> None:
    refused = _upload(operator, "adapter", _safetensors({"lora_A": entry}, 16))
    assert refused.status_code == 422
    assert reason in refused.json()["detail"]


def test_a_weight_that_is_not_a_number_is_named_and_nothing_is_stored(
    operator: TestClient, state: AppState
) -> None:
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    weights = struct.pack("<4f", 0.5, 1.5, float("nan"), 2.5)
    refused = _upload(operator, "adapter", _safetensors({"lora_A": entry}, 0) + weights)
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("tensor 'lora_A'[1][0] is NaN")
    assert _stored(state) == (0, 0)


def test_a_file_is_its_owners_alone(operator: TestClient, make_group: MakeGroup) -> None:
    _, teachers = make_group("teachers")
    _, pupils = make_group("pupils")
    pairs = [{"prompt": "a", "chosen": "b", "rejected": "c"}]
    file = upload_jsonl(teachers, "preferences", pairs)
    assert teachers.get(f"/v1/files/{file['id']}").json() == file
    assert [listed["id"] for listed in teachers.get("/v1/files").json()["data"]] == [file["id"]]
    for stranger in (pupils, operator):
        assert stranger.get(f"/v1/files/{file['id']}").status_code == 404
        assert stranger.get(f"/v1/files/{file['id']}/content").status_code == 404
        assert stranger.get("/v1/files").json()["data"] == []


def test_prompts_are_every_groups_to_read_once_their_round_was_opened(
    make_group: MakeGroup, upload_prompts: UploadPrompts, open_round: OpenRound
) -> None:
    _, group = make_group("teachers")
    unused = upload_prompts()
    opened = open_round()["announcement"]["prompts_file_id"]
    assert group.get(f"/v1/files/{unused}").status_code == 404
    assert group.get(f"/v1/files/{opened}").status_code == 200
    assert group.get(f"/v1/files/{opened}/content").status_code == 200
    assert group.get("/v1/files").json()["data"] == []


@pytest.mark.parametrize(
    ("asked", "expected", "content_range"),
    [
        ("bytes=0-4", PROMPTS[:5], f"bytes 0-4/{len(PROMPTS)}"),
        ("bytes=30-", PROMPTS[30:], f"bytes 30-{len(PROMPTS) - 1}/{len(PROMPTS)}"),
        ("bytes=-3", PROMPTS[-3:], f"bytes {len(PROMPTS) - 3}-{len(PROMPTS) - 1}/{len(PROMPTS)}"),
        ("bytes=30-9999", PROMPTS[30:], f"bytes 30-{len(PROMPTS) - 1}/{len(PROMPTS)}"),
    ],
)
def test_a_download_can_be_resumed(
    operator: TestClient, asked: str, expected: bytes, content_range: str
) -> None:
    url = f"/v1/files/{_upload(operator, 'prompts', PROMPTS).json()['id']}/content"
    part = operator.get(url, headers={"Range": asked})
    assert part.status_code == 206
    assert part.content == expected
    assert part.headers["Content-Range"] == content_range


def test_a_download_that_changed_or_did_not_is_told_by_its_etag(operator: TestClient) -> None:
    url = f"/v1/files/{_upload(operator, 'prompts', PROMPTS).json()['id']}/content"
    etag = operator.get(url).headers["ETag"]
    assert operator.get(url, headers={"If-None-Match": etag}).status_code == 304
    resumed = operator.get(url, headers={"Range": "bytes=1-", "If-Range": etag})
    assert resumed.status_code == 206
    other = operator.get(url, headers={"Range": "bytes=1-", "If-Range": '"other"'})
    assert other.status_code == 200
    assert other.content == PROMPTS


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=-"])
def test_a_range_that_is_not_understood_gives_the_whole(operator: TestClient, asked: str) -> None:
    url = f"/v1/files/{_upload(operator, 'prompts', PROMPTS).json()['id']}/content"
    whole = operator.get(url, headers={"Range": asked})
    assert (whole.status_code, whole.content) == (200, PROMPTS)


@pytest.mark.parametrize("asked", ["bytes=9999-", "bytes=-0"])
def test_a_range_behind_the_end_is_a_problem(operator: TestClient, asked: str) -> None:
    url = f"/v1/files/{_upload(operator, 'prompts', PROMPTS).json()['id']}/content"
    refused = operator.get(url, headers={"Range": asked})
    assert refused.status_code == 416
    assert refused.json()["code"] == "range_not_satisfiable"


def _upload(client: TestClient, purpose: str, data: bytes) -> httpx2.Response:
    return client.post("/v1/files", data={"purpose": purpose}, files={"file": ("f.jsonl", data)})


def _safetensors(header: dict[str, object], tensor_bytes: int) -> bytes:
    text = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(tensor_bytes)


def _stored(state: AppState) -> tuple[int, int]:
    """Rows of files, and blobs (whole or partial) in the store."""
    with state.database.read() as session:
        rows = session.scalar(select(func.count()).select_from(FileRow)) or 0
    folder = Path(state.artifacts.url)
    return rows, sum(path.is_file() for path in folder.rglob("*")) if folder.exists() else 0
