"""Hostile and broken requests are refused with the reason; none is a failure of the service."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.testclient import TestClient
from support import MakeGroup, OpenRound, UploadPrompts, report_body, round_body, upload_jsonl

from service.dependencies import AppState
from service.tables import FileRow, GroupRow, ReportRow, RoundRow

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the request"),
        (b"{", "not JSON"),
        (b'{"name": "teachers"', "not JSON: Expecting ',' delimiter at column 20"),
        (b'{"name": "\xff"}', "not UTF-8 at byte 11"),
        ('{"name": "teachers"}'.encode("utf-16"), "not UTF-8"),
        (b'{"name": "teachers", "name": "pupils"}', "the key 'name' occurs twice"),
        (b'{"name": "a\\u0000b"}', "U+0000"),
        (b'{"name": "\\ud800"}', "U+D800"),
        (b'{"\\ud800": 1}', "U+D800"),
        (b'{"name": ["a\\u0000b"]}', "U+0000"),
        (b'{"name": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"name": ' + b"9" * 5000 + b"}", "integer string conversion"),
        (b'{"name": NaN}', "NaN is not JSON"),
        (b'{"name": "teachers", "colour": "red"}', "colour"),
        (b'{"name": 7}', "name: Input should be a valid string, not 7"),
        (b'{"name": "two\\nlines"}', "name"),
        (b'["teachers"]', "the request"),
        (b"null", "the request"),
    ],
)
def test_a_broken_body_is_refused_with_its_reason(
    operator: TestClient, state: AppState, body: bytes, reason: str
) -> None:
    refused = operator.post("/v1/groups", content=body, headers=JSON)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert reason in refused.json()["detail"]
    assert _count(state, GroupRow) == 0


def test_a_file_of_too_many_lines_is_refused_without_being_read_on(
    operator: TestClient, state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_schemas.datasets.MAX_LINES", 3)
    for lines, status in [(3, 201), (4, 422)]:
        files = {"file": ("p.jsonl", b'{"prompt": "red"}\n' * lines)}
        answer = operator.post("/v1/files", data={"purpose": "prompts"}, files=files)
        assert answer.status_code == status
    assert "line 4: a file may have 3 lines" in answer.json()["detail"]
    assert _count(state, FileRow) == 1


def test_every_route_with_a_json_body_refuses_duplicate_keys(
    app: FastAPI, operator: TestClient, make_group: MakeGroup
) -> None:
    _, group = make_group("teachers")
    asked = 0
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            if "application/json" not in operation.get("requestBody", {}).get("content", {}):
                continue
            url = path.replace("{round_id}", "rnd_" + "0" * 26)
            client = group if url.endswith("/report") else operator
            refused = client.request(method, url, content=b'{"x": 1, "x": 2}', headers=JSON)
            assert refused.status_code == 422, path
            assert "'x' occurs twice" in refused.json()["detail"], path
            asked += 1
    assert asked >= 4


def test_a_body_larger_than_json_may_be_is_refused(operator: TestClient) -> None:
    refused = operator.post("/v1/groups", content=b" " * (4 * 2**20 + 1), headers=JSON)
    assert refused.status_code == 413
    assert str(4 * 2**20) in refused.json()["detail"]


@pytest.mark.parametrize("escaped", ["\\\\u0000", "\\u00e9", "\\ud83c\\udf5d"])
def test_text_that_only_looks_unstorable_is_kept(operator: TestClient, escaped: str) -> None:
    created = operator.post("/v1/groups", content=f'{{"name": "{escaped}"}}', headers=JSON)
    assert created.status_code == 201
    assert created.json()["name"] == json.loads(f'"{escaped}"')


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"training": {"steps": 10**30}}, "training.steps"),
        ({"training": {"top_layers": 10**30}}, "training.top_layers"),
        ({"training": {"evaluate_every": 2**63}}, "training.evaluate_every"),
        ({"training": {"patience": 2**63}}, "training.patience"),
        ({"regularizer": {"type": "kl", "coefficient": 10**400}}, "regularizer.coefficient"),
        ({"max_group_size": 2**63}, "max_group_size"),
        ({"price_per_unit_micro_units": 2**63}, "price_per_unit_micro_units"),
        ({"price_per_unit_micro_units": -1}, "price_per_unit_micro_units"),
        ({"seed": 2**31}, "seed"),
        ({"closes_at": "9999-12-31T23:59:59-01:00"}, "closes_at"),
        ({"opens_at": "0001-01-01T00:00:00+01:00"}, "opens_at"),
        ({"currency": "eur"}, "currency"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"base_model": "../" * 200}, "base_model"),
        ({"base_model": "/etc/passwd"}, "base_model"),
        ({"base_model": "/"}, "base_model"),
        ({"payment_rule": "free"}, "payment_rule"),
        ({"counterfactuals": None}, "counterfactuals"),
        ({"pool": {"method": "sample", "samples_per_prompt": 1}}, "pool.samples_per_prompt"),
    ],
)
def test_a_value_out_of_bounds_is_named(
    operator: TestClient,
    state: AppState,
    upload_prompts: UploadPrompts,
    changes: dict[str, Any],
    param: str,
) -> None:
    refused = operator.post("/v1/rounds", json=round_body(upload_prompts(), **changes))
    assert (refused.status_code, refused.json()["param"]) == (422, param), refused.text
    assert _count(state, RoundRow) == 0


def test_an_unknown_base_model_is_told_which_there_are(
    operator: TestClient, upload_prompts: UploadPrompts
) -> None:
    body = round_body(upload_prompts(), base_model="smollm-9000b")
    refused = operator.post("/v1/rounds", json=body)
    assert refused.status_code == 422
    assert refused.json()["code"] == "unknown_base_model"
    assert "'smollm-9000b'" in refused.json()["detail"]
    assert "smollm2-135m-instruct" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("config", "tokenizer"),
    [("{", "{}"), ("{}", "{}"), ("[]", "{}"), ('{"max_position_embeddings": "long"}', "not json")],
)
def test_a_folder_that_holds_no_usable_model_is_refused(
    operator: TestClient, upload_prompts: UploadPrompts, tmp_path: Path, config: str, tokenizer: str
) -> None:
    for name, text in [
        ("config.json", config),
        ("tokenizer.json", tokenizer),
        ("model.safetensors", ""),
    ]:
        (tmp_path / name).write_text(text)
    refused = operator.post(
        "/v1/rounds", json=round_body(upload_prompts(), base_model=str(tmp_path))
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_base_model")


def test_a_prompt_beyond_the_context_is_named_with_both_lengths(
    operator: TestClient, upload_prompts: UploadPrompts
) -> None:
    file_id = upload_prompts(["red", "red " * 100])
    refused = operator.post("/v1/rounds", json=round_body(file_id))
    assert refused.status_code == 422
    assert refused.json()["code"] == "prompt_too_long"
    assert refused.json()["param"] == "prompts[1]"
    assert "100 tokens" in refused.json()["detail"]
    assert "context of 64" in refused.json()["detail"]


@pytest.mark.parametrize("size", [0, -1, 10**9 + 1, 10**30, 1.5, True, None, "seven", [3]])
def test_a_size_that_is_no_number_of_agents_is_refused(
    make_group: MakeGroup, open_round: OpenRound, state: AppState, size: Any
) -> None:
    _, group = make_group("teachers")
    url = f"/v1/rounds/{open_round(max_group_size=10**9)['id']}/report"
    refused = group.put(url, json=report_body() | {"size": size})
    assert (refused.status_code, refused.json()["param"]) == (422, "size")
    assert _count(state, ReportRow) == 0


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
    assert _count(state, FileRow) == 0


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
    assert _count(state, FileRow) == 0


@pytest.mark.parametrize(
    "path",
    [
        "/v1/rounds/rnd_%00",
        "/v1/rounds/rnd_" + "0" * 27,
        "/v1/rounds/grp_" + "0" * 26,
        "/v1/files/..%2f..%2fetc%2fpasswd",
        "/v1/groups/grp_%ff",
        "/v1/groups?after=%00",
        "/v1/groups?limit=1e1",
        "/v1/groups?limit=" + "9" * 5000,
        "/v1/groups?after=grp_" + "0" * 26 + "%0a",
    ],
)
def test_an_id_that_cannot_be_one_is_refused(operator: TestClient, path: str) -> None:
    assert operator.get(path).status_code in (404, 422)


def test_ids_from_other_groups_are_answered_as_if_they_did_not_exist(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound
) -> None:
    """The same status and body, but for the id and the request's own id."""
    teachers_id, teachers = make_group("teachers")
    _, pupils = make_group("pupils")
    file = upload_jsonl(teachers, "preferences", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    opened = open_round()
    draft = operator.post("/v1/rounds", json=round_body(opened["announcement"]["prompts_file_id"]))
    for path, own_id in [
        ("/v1/groups/{}", teachers_id),
        ("/v1/files/{}", file["id"]),
        ("/v1/files/{}/content", file["id"]),
        ("/v1/rounds/{}", draft.json()["id"]),
        ("/v1/rounds/{}/report", draft.json()["id"]),
    ]:
        unknown_id = own_id.split("_")[0] + "_" + "0" * 26
        others, unknown = (pupils.get(path.format(which)) for which in (own_id, unknown_id))
        assert others.status_code == 404, path
        assert _without_ids(others.json(), own_id) == _without_ids(unknown.json(), unknown_id)


def test_a_failure_of_the_database_logs_no_report(
    make_group: MakeGroup,
    open_round: OpenRound,
    state: AppState,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, group = make_group("teachers")
    url = f"/v1/rounds/{open_round()['id']}/report"
    with state.database.write() as session:
        session.connection().exec_driver_sql("DROP TABLE reports")
    failed = group.put(url, json=report_body(word="our-secret-word"))
    assert failed.status_code == 500
    logged = capsys.readouterr().err
    assert "reports" in logged
    assert "our-secret-word" not in logged + failed.text


_MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}


def _multipart(filename: bytes, data: bytes) -> bytes:
    return (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nprompts\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + filename + b'"\r\n\r\n'
    ) + (data + b"\r\n--b--\r\n")


def _without_ids(problem: dict[str, Any], asked: str) -> dict[str, Any]:
    kept = {name: value for name, value in problem.items() if name != "request_id"}
    return kept | {"detail": problem["detail"].replace(asked, "")}


def _count(state: AppState, table: type) -> int:
    with state.database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0
