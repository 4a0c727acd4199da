"""Documents: what can be read is read whole, and what can't be says where and what to do."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from pdf_support import PICTURE, pdf

from api_schemas.corpora import Paragraphing
from api_schemas.datasets import QuestionAnswerLine, parse_jsonl
from api_schemas.errors import InvalidInput
from client import demo
from workers.corpora import documents
from workers.corpora.documents import check_document, joined_lines, read_document
from workers.corpora.paragraphs import cut


def read(data: bytes, filename: str = "a file without an ending") -> str:
    return read_document(io.BytesIO(data), filename).text


def refusal(data: bytes, filename: str, reader: Callable[..., object] = read_document) -> str:
    with pytest.raises(InvalidInput) as caught:
        reader(io.BytesIO(data), filename)
    assert caught.value.param == "file"
    assert repr(filename) in caught.value.message
    return caught.value.message


def both_refuse(data: bytes, filename: str, *expected: str) -> None:
    for reader in (check_document, read_document):
        message = refusal(data, filename, reader)
        for words in expected:
            assert words in message


def test_text_and_markdown_are_read_whole_with_one_kind_of_line_end() -> None:
    data = "\ufeffWhy?\r\nBecause.\rTomatoes 番茄\n".encode()
    assert read(data, "notes.md") == "Why?\nBecause.\nTomatoes 番茄\n"


def test_what_is_not_utf_8_is_refused_with_the_line_and_the_byte() -> None:
    both_refuse(
        "eins\nzwei für".encode("latin-1"), "a.txt", "line 2 is not UTF-8 (byte 12 of the file)"
    )


def test_nul_characters_and_empty_documents_are_refused() -> None:
    both_refuse(b"a\nb\0c", "a.txt", "line 2 holds a NUL")
    both_refuse(b"", "a.txt", "it is empty")
    both_refuse("\ufeff \n".encode(), "a.txt", "it is empty")


def test_a_document_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_CHARACTERS", 20)
    both_refuse(b"a" * 21, "a.txt", "21 characters, the limit is 20")
    assert "more than 20 characters" in refusal(pdf(["a" * 30]), "a.pdf")


def test_a_text_of_too_many_bytes_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(documents, "MAX_CHARACTERS", 20)
    # In UTF-8 a character has four bytes at most; these are no UTF-8, which is not told.
    both_refuse(b"\xff" * 81, "a.txt", "more than 80 bytes, so than 20 characters")


def test_the_reader_of_a_pdf_sees_no_variable_of_the_services(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRUTHTUNE_API_KEY_SECRET", "hunter2")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    program = tmp_path / "told.py"
    program.write_text(
        "import json, os, pypdf\n"
        "print(json.dumps({'text': ' '.join(['seen:', *os.environ]), 'only_pictures': False}))\n"
    )
    monkeypatch.setattr(documents, "_PROGRAM", program)
    seen = read(pdf(["Tomatoes want sun."])).split()
    # Python itself sets the C locale's character type.
    assert seen[0] == "seen:"
    assert set(seen[1:]) <= {"LC_CTYPE"}


def test_the_pages_of_a_pdf_are_read_in_their_order() -> None:
    data = pdf(["Tomatoes want sun.", "And water."], ["Herbs want less."])
    check_document(io.BytesIO(data), "book.pdf")
    assert read(data) == "\n\nTomatoes want sun.\nAnd water.\n\nHerbs want less."


def test_words_that_lines_or_pages_hyphenate_are_whole_again() -> None:
    data = pdf(["Balcony garden-", "ers like the North-", "South axis and to-"], ["matoes."])
    assert read(data).strip() == "Balcony gardeners like the North-\nSouth axis and tomatoes."
    assert (
        joined_lines("well-known - or\n5-\n6 and x-\n\ny") == "well-known - or\n5-\n6 and x-\n\ny"
    )


def test_a_sentence_goes_on_over_the_end_of_a_page() -> None:
    assert read(pdf(["Water in"], ["the morning."], ["Feed."])).strip() == (
        "Water in\nthe morning.\n\nFeed."
    )


def test_a_scanned_pdf_says_which_pages_and_to_run_ocr() -> None:
    both_refuse(pdf(PICTURE, PICTURE), "scan.pdf", "pages 1 to 2 hold pictures", "Run OCR")
    message = refusal(pdf(["Scanned by me."], PICTURE, PICTURE), "scan.pdf")
    assert "page 2, and 2 of its 3 pages, are pictures without text: run OCR" in message


def test_a_few_pages_of_pictures_are_told_and_the_rest_is_read() -> None:
    found = read_document(io.BytesIO(pdf(PICTURE, ["One."], ["Two."])), "book.pdf")
    assert found.scanned_pages == (1,)
    assert found.text.strip() == "One.\n\nTwo."


def test_blank_pages_are_no_scan_but_blank_pages_alone_are_no_document() -> None:
    assert read_document(io.BytesIO(pdf([], [], ["Text."])), "a.pdf").scanned_pages == ()
    assert "pages 1 to 2 hold no text" in refusal(pdf([], []), "a.pdf")


def test_an_encrypted_pdf_is_refused_but_one_that_opens_without_a_password_is_read() -> None:
    both_refuse(pdf(["Secret."], password="geheim"), "a.pdf", "it is encrypted", "password")
    assert read(pdf(["Open."], password="")).strip() == "Open."


def test_damaged_pdfs_are_refused_whatever_is_broken() -> None:
    whole = pdf(["Text."])
    assert "it is damaged" in refusal(b"%PDF-1.7\nnothing", "a.pdf", check_document)
    assert "it is damaged" in refusal(whole[: len(whole) // 3], "a.pdf")
    both_refuse(b"PK\x03\x04 a zip", "a.pdf", "it is no PDF: it begins with b'PK")


def test_a_page_with_a_damaged_stream_is_named() -> None:
    whole = pdf(["Fine."], ["Broken."])
    # The second page says that its stream is compressed, which it is not.
    place = whole.index(b"Broken")
    start = whole.rindex(b"/Length", 0, place)
    assert b">>" in whole[start:place]
    broken = whole[:start] + b"/Filter /FlateDecode " + whole[start:]
    message = refusal(broken, "a.pdf")
    assert "page 2" in message


def test_a_pdf_of_too_many_pages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_PAGES", 2)
    message = refusal(pdf(["a"], ["b"], ["c"]), "a.pdf", check_document)
    assert "3 pages, the limit is 2" in message


def test_a_pdf_that_keeps_its_reader_busy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_MAX_SECONDS", {"read": 0.01, "check": 0.01})
    message = refusal(pdf(["a"]), "a.pdf", check_document)
    assert "reading it took longer than 0.04 s" in message


def test_a_pdf_that_takes_too_much_memory_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_MAX_MEMORY", 2**20)
    message = refusal(pdf(["a" * 1000] * 2000), "a.pdf")
    assert "memory" in message


def test_the_textbook_and_the_pairs_of_the_demo_are_what_a_corpus_takes() -> None:
    folder = Path(demo.__file__).parent / "corpus"
    text = read((folder / "balcony_gardening.md").read_bytes())
    assert len(cut(text, Paragraphing())) == 15
    pairs = io.BytesIO((folder / "pairs.jsonl").read_bytes())
    assert len(parse_jsonl(pairs, QuestionAnswerLine)) == 12
