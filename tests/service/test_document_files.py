"""Uploads of documents, seed questions and answered questions: read whole before they are kept."""

import io

import pytest
from corpus_scenes import PAIRS, TEXT, upload
from pypdf import PdfWriter
from starlette.testclient import TestClient
from support import MakeGroup, count_rows, upload_jsonl

from service.dependencies import AppState
from service.files import upload as uploading
from service.tables import FileRow


def scanned() -> bytes:
    """A PDF of one page without any text, as a scanner makes it."""
    writer = PdfWriter()
    writer.add_blank_page(width=200, height=200)
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def test_a_document_is_kept_as_it_came_and_has_no_lines(operator: TestClient) -> None:
    made = upload(operator, "document", "rain.md", TEXT)
    assert (made["purpose"], made["lines"], made["validation"]) == ("document", None, None)
    assert operator.get(f"/v1/files/{made['id']}/content").content == TEXT


def test_questions_and_answers_are_counted(operator: TestClient) -> None:
    assert upload_jsonl(operator, "question_answers", PAIRS)["lines"] == len(PAIRS)
    questions = [{"question": each["question"]} for each in PAIRS]
    assert upload_jsonl(operator, "questions", questions)["lines"] == len(PAIRS)


WRONG: list[tuple[str, str, bytes, str]] = [
    ("document", "scan.pdf", scanned(), "scan.pdf"),
    ("document", "rain.txt", b"Rain \xff falls.", "UTF-8"),
    ("document", "rain.pdf", TEXT, "no PDF"),
    ("questions", "q.jsonl", b'{"question": " "}\n', "line 1: question"),
    ("questions", "q.jsonl", b'{"question": "Why?", "answer": "So."}\n', "line 1: answer"),
    ("question_answers", "p.jsonl", b'{"question": "Why?"}\n', "line 1: answer"),
    ("question_answers", "p.jsonl", b"\n", "holds no line"),
]


def test_what_cannot_be_read_is_refused_and_nothing_is_kept(
    operator: TestClient, state: AppState
) -> None:
    for purpose, filename, data, told in WRONG:
        files = {"file": (filename, data)}
        refused = operator.post("/v1/files", data={"purpose": purpose}, files=files)
        assert (refused.status_code, refused.json()["param"]) == (422, "file"), refused.text
        assert told in refused.json()["detail"]
    assert count_rows(state, FileRow) == 0
    assert list(state.artifacts.blobs()) == []


def test_a_group_uploads_none_of_what_the_operator_makes_corpora_of_and_none_is_read(
    make_group: MakeGroup, state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, member = make_group("teachers")
    monkeypatch.setattr(uploading, "check_content", lambda *_: pytest.fail("it was read"))
    for purpose in ("document", "questions", "question_answers"):
        # The purpose comes behind the file.
        parts = [("file", ("rain.pdf", scanned())), ("purpose", (None, purpose))]
        refused = member.post("/v1/files", files=parts)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert refused.json()["param"] == "purpose"
        assert f"purpose {purpose} needs a key of the operator" in refused.json()["detail"]
    assert count_rows(state, FileRow) == 0
    assert list(state.artifacts.blobs()) == []
