"""Recorded calls: bought once, durable before they are used, and enough to play a run again."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from language_model_support import IDENTITY, SCORE, ask, asking
from scripted_endpoint import MODEL, NAME, Asked, Fault, ScriptedEndpoint, hang, scripted_endpoint

from api_schemas.errors import LanguageModelFailed, StorageFull
from api_schemas.language_models import Budget, EndpointModel
from workers.artifacts import ArtifactStore
from workers.language_models.call_book import Call, CallBook
from workers.language_models.chat import Reply
from workers.language_models.meter import Meter
from workers.language_models.opening import open_model

ROOT = Path(__file__).parents[2]
SPEC = EndpointModel(type="endpoint", endpoint=NAME, model=MODEL)
REQUESTS = [ask(f"Question {number}") for number in range(6)]


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with scripted_endpoint(lambda asked: f"re: {asked.last}") as running:
        yield running


def call(text: str = "Yes.", question: str = "Why?") -> Call:
    return Call(IDENTITY, ask(question), Reply(text, None, 2, 1, complete=True))


def test_what_was_asked_before_is_not_asked_again(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    first = asking(endpoint, tmp_path).model.complete(REQUESTS)
    endpoint.script = lambda _: "something else"
    again = asking(endpoint, tmp_path)
    assert again.model.complete(REQUESTS) == first
    assert len(endpoint.asked) == len(REQUESTS)
    assert again.meter.spent.replayed == len(REQUESTS)
    assert again.meter.spent.calls == len(REQUESTS), "what runs before it spent counts"


@pytest.mark.parametrize(
    "change",
    [
        {"sample": 1},
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"max_tokens": 21},
        {"choice": SCORE},
    ],
)
def test_another_request_is_another_call(
    endpoint: ScriptedEndpoint, tmp_path: Path, change: dict[str, object]
) -> None:
    endpoint.script = lambda _: "Score: 3"
    model = asking(endpoint, tmp_path).model
    model.complete([ask("Why?"), replace(ask("Why?"), **change)])
    assert len(endpoint.asked) == 2


def test_a_process_that_is_killed_loses_only_the_call_in_flight(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    reached = threading.Event()

    def answer(asked: Asked) -> str | Fault:
        if asked.last == "Question 3":
            reached.set()
            return hang()
        return f"re: {asked.last}"

    endpoint.script = answer
    program = (
        "import sys; sys.path[:0] = ['tests', 'tests/workers']\n"
        "from pathlib import Path\n"
        "from language_model_support import asking\n"
        "from scripted_endpoint import ScriptedEndpoint\n"
        "from test_language_models_calls import REQUESTS\n"
        f"endpoint = ScriptedEndpoint(None, {endpoint.url!r})\n"
        f"asking(endpoint, Path({str(tmp_path)!r}), concurrency=1).model.complete(REQUESTS)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    assert reached.wait(60)
    child.kill()
    assert child.wait() == -signal.SIGKILL

    endpoint.script = lambda asked: f"anew: {asked.last}"
    again = asking(endpoint, tmp_path)
    # the call in flight: 64 of a request, 16 of a message, its 10 bytes, 20 to write
    assert (again.meter.spent.calls, again.meter.spent.completion_tokens) == (3, 3 * 3 + 20)
    replies = again.model.complete(REQUESTS)
    kept = [f"re: Question {number}" for number in range(3)]
    bought = [f"anew: Question {number}" for number in range(3, 6)]
    assert [reply.text for reply in replies] == [*kept, *bought]
    assert len(endpoint.asked) == 4 + 3


def test_a_replay_needs_no_endpoint_and_is_the_same_to_the_bit(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    first = asking(endpoint, tmp_path, prompt_price=10, currency="EUR")
    replies = first.model.complete(REQUESTS)
    store = ArtifactStore(str(tmp_path))
    digest = store.put(first.book.to_jsonl())
    first.book.forget()
    book = CallBook.replaying(store, digest)
    meter = Meter(Budget(max_tokens=1, max_cost_micro_units=0))
    model = open_model(SPEC, revisions={}, endpoints=[], calls=book, meter=meter)
    assert model.identity == first.model.identity
    assert model.complete(REQUESTS) == replies
    assert book.to_jsonl() == store.get(digest)
    assert (meter.spent.calls, meter.spent.replayed) == (0, len(REQUESTS))
    assert meter.spent.cost_micro_units == 0


def test_a_replay_says_what_was_never_recorded(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    first = asking(endpoint, tmp_path)
    first.model.complete(REQUESTS)
    store = ArtifactStore(str(tmp_path))
    book = CallBook.replaying(store, store.put(first.book.to_jsonl()))
    model = open_model(SPEC, revisions={}, endpoints=[], calls=book, meter=Meter(Budget()))
    with pytest.raises(LanguageModelFailed, match="A new question") as raised:
        model.complete([*REQUESTS, ask("A new question")])
    assert raised.value.code == "not_recorded"


def test_the_same_calls_give_the_same_lines_in_whatever_order_they_came(tmp_path: Path) -> None:
    calls = [call(question=f"Question {number}") for number in range(5)]
    lines = []
    for name, order in (("one", calls), ("other", calls[::-1])):
        book = CallBook(ArtifactStore(str(tmp_path)), name)
        for each in order:
            book.add(each)
        lines.append(book.to_jsonl())
    assert lines[0] == lines[1]
    assert lines[0].count(b"\n") == 5


@pytest.mark.parametrize("url", ["{folder}", "file://{folder}", "memory://{folder}"])
def test_a_book_is_found_again_beside_the_artifacts(tmp_path: Path, url: str) -> None:
    store = ArtifactStore(url.format(folder=tmp_path / "store"))
    book = CallBook(store, "a-run")
    assert book.find(IDENTITY, ask("Why?")) is None
    assert book.spent.calls == 0
    book.add(call())
    again = CallBook(store, "a-run")
    assert again.find(IDENTITY, ask("Why?")) == call()
    assert again.find(IDENTITY, ask("How?")) is None
    assert again.spent.prompt_tokens == 2
    assert CallBook(store, "another").spent.calls == 0
    again.forget()
    assert CallBook(store, "a-run").spent.calls == 0


@pytest.mark.parametrize("url", ["{folder}", "memory://{folder}"])
def test_of_two_that_bought_one_call_the_first_gives_both_its_reply(
    tmp_path: Path, url: str
) -> None:
    store = ArtifactStore(url.format(folder=tmp_path))
    one, other = CallBook(store, "a-run"), CallBook(store, "a-run")
    assert one.find(IDENTITY, ask("Why?")) is other.find(IDENTITY, ask("Why?")) is None
    assert one.add(call("first")).reply.text == "first"
    assert other.add(call("second")).reply.text == "first"
    assert other.require(IDENTITY, ask("Why?")).reply.text == "first"
    assert one.to_jsonl() == other.to_jsonl()


def test_a_file_that_was_changed_is_no_reply_and_heals_when_it_is_bought_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = ArtifactStore(str(tmp_path))
    CallBook(store, "a-run").add(call())
    (file,) = (tmp_path / "calls" / "a-run").iterdir()
    whole = file.read_bytes()
    others = call(question="How?").to_line()
    changed = whole.replace(b"Why?", b"How?")
    for damaged in (whole[:-1], b"", changed, others, b'{"key": 3}', b"[]", b"[" * 200_000):
        file.write_bytes(damaged)
        caplog.clear()
        book = CallBook(store, "a-run")
        assert book.find(IDENTITY, ask("Why?")) is None
        assert str(file) in caplog.text
        assert (book.calls(), book.to_jsonl()) == ([], b"")
        assert book.add(call()) == call()
        assert file.read_bytes() == whole
        assert CallBook(store, "a-run").calls() == [call()]


def test_a_damaged_line_is_an_error_in_a_replay(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    digest = store.put(call().to_line()[:-1] + b"\n")
    with pytest.raises(LanguageModelFailed, match="line 1 of") as raised:
        CallBook.replaying(store, digest)
    assert raised.value.code == "damaged_record"


def test_half_written_files_are_no_calls(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    CallBook(store, "a-run").add(call())
    (tmp_path / "calls" / "a-run" / ".partial-x").write_bytes(b"{")
    assert len(CallBook(store, "a-run").calls()) == 1


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    book = CallBook(ArtifactStore(str(tmp_path)), "a-run")
    with pytest.raises(StorageFull):
        book.add(call())
    assert book.calls() == []
    assert list((tmp_path / "calls" / "a-run").iterdir()) == []


@pytest.mark.parametrize("name", ["", "../other", "a/b", ".hidden"])
def test_a_books_name_is_one_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a book"):
        CallBook(ArtifactStore(str(tmp_path)), name)
