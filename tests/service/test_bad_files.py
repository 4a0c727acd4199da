"""Hostile names, forms and lines of files break nothing and store nothing."""

import httpx2
import pytest
from starlette.testclient import TestClient
from support import (
    count_rows,
)

from service.dependencies import AppState
from service.tables import FileRow


def test_a_file_of_too_many_lines_is_refused_without_being_read_on(
    operator: TestClient, state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_schemas.datasets.MAX_LINES", 3)
    for lines, status in [(3, 201), (4, 422)]:
        files = {"file": ("p.jsonl", b'{"prompt": "red"}\n' * lines)}
        answer = operator.post("/v1/files", data={"purpose": "prompts"}, files=files)
        assert answer.status_code == status
    assert "line 4: a file may have 3 lines" in answer.json()["detail"]
    assert count_rows(state, FileRow) == 1


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\me\\prompts.jsonl", "prompts.jsonl"),
        ("%2e%2e%2fpasswd", "%2e%2e%2fpasswd"),
        ("…λ🍝.jsonl", "…λ🍝.jsonl"),
        ("-rf; $(reboot).jsonl", "-rf; $(reboot).jsonl"),
    ],
)
def test_of_a_path_only_the_last_name_is_kept_and_it_names_no_place(
    operator: TestClient, state: AppState, sent: str, kept: str
) -> None:
    files = {"file": (sent, b'{"prompt": "red"}')}
    created = operator.post("/v1/files", data={"purpose": "prompts"}, files=files)
    assert created.status_code == 201
    assert created.json()["filename"] == kept
    content = operator.get(f"/v1/files/{created.json()['id']}/content")
    assert content.content == b'{"prompt": "red"}'
    assert "\n" not in content.headers["Content-Disposition"]


@pytest.mark.parametrize("name", ["..", ".", "a/", "a/..", "a\x00b", "a\nb", "x" * 256])
def test_a_name_that_is_no_files_name_is_refused(
    operator: TestClient, state: AppState, name: str
) -> None:
    body = _multipart(name.encode(), b'{"prompt": "red"}')
    refused = operator.post("/v1/files", content=body, headers=_MULTIPART)
    assert refused.status_code == 422
    assert count_rows(state, FileRow) == 0


@pytest.mark.parametrize("charset", ["utf-7", "utf-16", "no-such-charset", "idna"])
def test_a_forms_charset_breaks_nothing(operator: TestClient, charset: str) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    body = b'--b\r\nContent-Disposition: form-data; name="+2AA-"\r\n\r\nx\r\n--b--\r\n'
    refused = operator.post("/v1/files", content=body, headers=headers)
    assert refused.status_code == 422
    assert refused.json()["code"] == "invalid_input"


@pytest.mark.parametrize("name", [b"\xff\xfe.jsonl", b"caf\xe9.jsonl"])
def test_a_filename_that_is_not_utf8_breaks_nothing(operator: TestClient, name: bytes) -> None:
    body = _multipart(name, b'{"prompt": "red"}')
    answer = operator.post("/v1/files", content=body, headers=_MULTIPART)
    assert answer.status_code in (201, 422)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "a", "prompt": "b"}', "occurs twice"),
        (b'{"prompt": "a", "weight": NaN}', "NaN"),
        (b'{"prompt": "a", "weight": 1e999}', "weight"),
        (b'{"prompt": "a", "weight": 0}', "weight"),
        (b'{"prompt": "a", "weight": ' + b"9" * 5000 + b"}", "integer string conversion"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"prompt": "\\ud800"}', "prompt"),
        (b'{"prompt": ""}', "prompt"),
        (b'\x00{"prompt": "a"}', "not JSON"),
        (b'{"prompt": "a", "answer": "b"}', "answer"),
    ],
)
def test_a_hostile_line_is_named_and_nothing_is_stored(
    operator: TestClient, state: AppState, line: bytes, reason: str
) -> None:
    files = {"file": ("p.jsonl", b'{"prompt": "red"}\n' + line)}
    refused = operator.post("/v1/files", data={"purpose": "prompts"}, files=files)
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("line 2: ")
    assert reason in refused.json()["detail"]
    assert count_rows(state, FileRow) == 0


def test_a_preference_file_of_too_many_lines_is_refused(
    operator: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_schemas.datasets.MAX_LINES", 3)
    line = b'{"prompt": "p", "chosen": "c", "rejected": "r"}\n'
    for lines, status in [(3, 201), (4, 422)]:
        assert _preferences(operator, line * lines).status_code == status


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'prompt,chosen,rejected\n"' + b"c\n" * 70_000, "line 2: not CSV (does every quote end?)"),
        (b"PAR1" + b"\x00" * 1000, "the Parquet file can't be read: it has no footer"),
        (b"\x1f\x8b\x08\x00", "compressed with gzip"),
        (b"\x80\x04\x95", "line 1: not CSV (does every quote end?): not UTF-8"),
        (b'{"prompt": "p", "responses": ["a", "b"], "votes": [1, -1]}', "line 1: votes.1: "),
        (b'{"prompt": "p", "responses": ["a", "b"], "votes": [0, 0]}', "no vote at all"),
        (b'{"prompt": "p", "chosen": " ", "rejected": "r"}', "no line holds a pair"),
    ],
)
def test_hostile_preferences_are_refused_with_the_reason_and_nothing_is_stored(
    operator: TestClient, state: AppState, data: bytes, reason: str
) -> None:
    refused = _preferences(operator, data)
    assert refused.status_code == 422
    assert refused.json()["param"] == "file"
    assert reason in refused.json()["detail"]
    assert count_rows(state, FileRow) == 0


def _preferences(client: TestClient, data: bytes) -> httpx2.Response:
    files = {"file": ("preferences", data)}
    return client.post("/v1/files", data={"purpose": "preferences"}, files=files)


_MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}


def _multipart(filename: bytes, data: bytes) -> bytes:
    return (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nprompts\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + filename + b'"\r\n\r\n'
    ) + (data + b"\r\n--b--\r\n")
