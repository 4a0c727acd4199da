"""What an endpoint may do to whoever asks it: be busy, silent, broken, or say what is no reply."""

import datetime
import email.utils
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from language_model_support import IDENTITY, SCORE, Asking, ask, asking
from scripted_endpoint import (
    KEY,
    MODEL,
    NAME,
    Answer,
    Asked,
    Fault,
    ScriptedEndpoint,
    completion,
    cut,
    garbage,
    hang,
    in_turn,
    scripted_endpoint,
    status,
)

from api_schemas.errors import LanguageModelFailed
from api_schemas.language_models import Budget, EndpointModel
from workers.artifacts import ArtifactStore
from workers.language_models.call_book import CallBook
from workers.language_models.chat import ChatRequest, Choice, Message
from workers.language_models.choices import before_cue, chosen
from workers.language_models.endpoint import EndpointSource
from workers.language_models.meter import Meter, Tariff
from workers.language_models.opening import open_model
from workers.language_models.recorded import RecordedModel, Source


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with scripted_endpoint() as running:
        yield running


def failure(model: Asking, request: ChatRequest | None = None) -> LanguageModelFailed:
    with pytest.raises(LanguageModelFailed) as raised:
        model.model.complete([request or ask("Why?")])
    return raised.value


def test_a_request_is_openais_and_the_reply_is_what_it_says(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda _: Answer("It rains", finish_reason="length")
    messages = (Message("system", "Be brief."), Message("user", "Why?"))
    request = ChatRequest(messages, max_tokens=7, temperature=0.5, top_p=0.9, sample=3)
    (reply,) = asking(endpoint, tmp_path).model.complete([request])
    (asked,) = endpoint.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why?"},
        ],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 3,
    }
    assert (reply.text, reply.complete) == ("It rains", False)
    assert (reply.prompt_tokens, reply.completion_tokens) == (3, 2)  # a token is a word there


def test_an_endpoint_without_a_key_is_sent_none(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    asking(endpoint, tmp_path, key=None).model.complete([ask("Why?")])
    assert "authorization" not in endpoint.asked[0].headers


def test_what_may_pass_is_tried_again_with_pauses_that_double(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.faults += [status(500), status(503), cut(), status(408)]
    model = asking(endpoint, tmp_path)
    (reply,) = model.model.complete([ask("Why?")])
    assert reply.text == "Yes."
    assert len(endpoint.asked) == 5
    for pause, longest in zip(model.pauses, (1, 2, 4, 8), strict=True):
        assert longest / 2 <= pause <= longest


@pytest.mark.parametrize(("told", "expected"), [("7", 7.0), ("0", 0.0), ("2.5", 2.5)])
def test_a_busy_endpoint_is_left_alone_for_as_long_as_it_says(
    endpoint: ScriptedEndpoint, tmp_path: Path, told: str, expected: float
) -> None:
    endpoint.faults += [status(429, retry_after=told)]
    model = asking(endpoint, tmp_path)
    model.model.complete([ask("Why?")])
    assert model.pauses == [expected]


def test_a_date_to_come_back_at_is_understood(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)
    endpoint.faults += [status(503, retry_after=email.utils.format_datetime(at, usegmt=True))]
    model = asking(endpoint, tmp_path)
    model.model.complete([ask("Why?")])
    (pause,) = model.pauses
    assert 80 < pause <= 100  # the date has whole seconds, and the request took some time


def test_an_endpoint_that_is_busy_for_hours_fails_the_run_instead(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.faults += [status(429, retry_after="86400")]
    model = asking(endpoint, tmp_path)
    error = failure(model)
    assert "86400" in error.message
    assert "later" in error.message
    assert model.pauses == []


def test_attempts_have_an_end_that_says_why(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    endpoint.faults += [status(500, "out of cards")] * 3
    error = failure(asking(endpoint, tmp_path, attempts=3))
    assert error.code == "endpoint_unavailable"
    assert "3 attempts" in error.message
    assert "out of cards" in error.message
    assert len(endpoint.asked) == 3


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422])
def test_a_refusal_is_final(endpoint: ScriptedEndpoint, tmp_path: Path, code: int) -> None:
    endpoint.faults += [status(code, "no such model")]
    error = failure(asking(endpoint, tmp_path))
    assert error.code == "endpoint_refused"
    assert str(code) in error.message
    assert "no such model" in error.message
    assert len(endpoint.asked) == 1


def test_redirects_are_not_followed(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    endpoint.faults += [Fault(307, headers={"Location": endpoint.url + "/elsewhere"})]
    assert "redirects are not followed" in failure(asking(endpoint, tmp_path)).message
    assert len(endpoint.asked) == 1


def test_an_endpoint_that_says_nothing_is_given_up_after_its_time(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.faults += [hang(), hang()]
    error = failure(asking(endpoint, tmp_path, timeout_seconds=0.1, attempts=2))
    assert "nothing came within 0.1 s" in error.message


def test_an_endpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with scripted_endpoint() as gone:
        pass
    error = failure(asking(gone, tmp_path, attempts=2))
    assert "'scripted'" in error.message
    assert "can't be reached" in error.message


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (garbage(), "<html>Bad gateway"),
        (garbage(""), "no chat completion"),
        (completion(id="x"), "KeyError"),
        (completion(choices=[]), "IndexError"),
        (completion(choices=["Yes."]), "AttributeError"),
        (completion(choices=[{"message": {}}]), "KeyError"),
        (garbage("[" * 200_000), "RecursionError"),
        (completion(choices=[{"message": {"content": ["a"]}}]), "list, not a string"),
        (garbage("[1, 2]"), "no chat completion"),
        (garbage("x" * (9 << 20)), "more than 8 MiB"),
    ],
)
def test_what_is_no_completion_is_an_error_that_shows_it(
    endpoint: ScriptedEndpoint, tmp_path: Path, fault: Fault, words: str
) -> None:
    endpoint.faults += [fault]
    model = asking(endpoint, tmp_path)
    error = failure(model)
    assert error.code == "endpoint_garbage"
    assert words in error.message
    assert len(error.message) < 500
    assert len(endpoint.asked) == 1
    assert model.meter.spent.completion_tokens == 20, "it may have been charged for"


def test_usage_that_is_not_told_counts_as_the_most_that_it_can_be(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda _: Answer("Yes.", with_usage=False)
    model = asking(endpoint, tmp_path)
    (reply,) = model.model.complete([ask("Why?", max_tokens=9)])
    # 64 of a request, 16 of a message, 4 bytes
    assert (reply.prompt_tokens, reply.completion_tokens) == (84, 9)
    assert model.meter.spent.prompt_tokens == 84
    (call,) = model.book.calls()
    assert not call.usage_told


@pytest.mark.parametrize("usage", [{"prompt_tokens": 3}, {"prompt_tokens": -1}, "none", [], None])
def test_usage_that_means_nothing_is_as_if_it_were_not_told(
    endpoint: ScriptedEndpoint, tmp_path: Path, usage: object
) -> None:
    endpoint.faults += [completion(choices=[{"message": {"content": "Yes."}}], usage=usage)]
    model = asking(endpoint, tmp_path)
    model.model.complete([ask("Why?", max_tokens=9)])
    assert model.meter.spent.prompt_tokens == 84


def test_at_most_so_many_are_asked_at_once_as_the_endpoint_allows(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    full = threading.Barrier(3, timeout=20)

    def answer(_: Asked) -> str:
        full.wait()  # three must be there at once for any to be answered
        return "Yes."

    endpoint.script = answer
    counts: list[int] = []
    requests = [ask(f"Question {number}") for number in range(12)]
    model = asking(endpoint, tmp_path, concurrency=3)
    replies = model.model.complete(requests, counts.append)
    assert len(replies) == 12
    assert endpoint.most_at_once == 3
    assert counts == list(range(1, 13))


def test_two_models_of_one_endpoint_share_its_places(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    full = threading.Barrier(2, timeout=20)

    def answer(_: Asked) -> str:
        full.wait()
        return "Yes."

    endpoint.script = answer
    models = [asking(endpoint, tmp_path / name, concurrency=2) for name in "ab"]
    requests = [ask(f"Question {number}") for number in range(6)]
    threads = [threading.Thread(target=m.model.complete, args=(requests,)) for m in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(endpoint.asked) == 12
    assert endpoint.most_at_once == 2


def test_replies_are_in_the_order_of_their_requests(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda asked: f"re: {asked.last}"
    requests = [ask(f"Question {number}") for number in range(20)]
    replies = asking(endpoint, tmp_path).model.complete([*requests, requests[3]])
    expected = [f"re: Question {number}" for number in range(20)]
    assert [reply.text for reply in replies] == [*expected, "re: Question 3"]
    assert len(endpoint.asked) == 20, "equal requests are one call"


def test_a_choice_is_asked_for_in_words_and_read_from_the_last_line(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda _: "It is short.\nScore: 10"
    (reply,) = asking(endpoint, tmp_path).model.complete([ask("Judge.", choice=SCORE)])
    assert reply.choice == "10"
    assert "`Score: X`" in endpoint.asked[0].last
    assert "1, 2, 3, 4, 5, 6, 7, 8, 9, 10" in endpoint.asked[0].last
    # what the line takes is no part of what may be written before it: "\nScore: 10\n"
    assert endpoint.asked[0].body["max_tokens"] == 20 + 11


@pytest.mark.parametrize(
    "text",
    [
        "Good.",
        "Score: 11",
        "Score: 7/9",
        "Score: 11/10",
        "Score: 7/10/10",
        "Score: 7..",
        "Score: seven",
        "**Score: 3**\nScore: 7/10",
        "Score: 7\nThat is all.",
        "Score: 3\nScore: 7",
        "",
        "The Score: 7",
    ],
)
def test_a_reply_that_breaks_the_choice_is_asked_for_twice_more_and_paid_for(
    endpoint: ScriptedEndpoint, tmp_path: Path, text: str
) -> None:
    endpoint.script = lambda _: text
    model = asking(endpoint, tmp_path)
    error = failure(model, ask("Judge.", choice=SCORE))
    assert error.code == "unreadable_reply"
    assert repr(text) in error.message
    assert len(endpoint.asked) == 3
    assert len({json.dumps(asked.body) for asked in endpoint.asked}) == 3, "each another sample"
    assert model.meter.spent.calls == 3
    assert [call.reply.text for call in model.book.calls()] == [text] * 3


@pytest.mark.parametrize(
    "line",
    [
        "**Score: 8**",
        "**Score:** 8",
        "**Score**: 8",
        "Score: **8**",
        "Score: `8`.",
        "### Score: 8",
        "Score: 8.",
        "Score: 8/10",
        "*Score: 8 / 10.*",
    ],
)
def test_a_choice_is_read_as_people_and_models_write_it(line: str) -> None:
    text = f"It is short.\n\n{line}\n"
    assert chosen(text, SCORE) == "8"
    assert chosen(f"Score: 8\n{line}", SCORE) == "8", "the same twice is no contradiction"
    assert chosen(f"Score: 7\n{line}", SCORE) is None
    assert before_cue(text, SCORE) == "It is short."


def test_a_slash_between_letters_chooses_none() -> None:
    better = Choice("Better:", ("A", "B"))
    assert chosen("**Better: B**", better) == "B"
    assert chosen("Better: A/B", better) is None


def test_a_question_without_a_readable_reply_is_asked_anew_in_another_run(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda _: "Hm."
    request = ask("Judge.", choice=SCORE)
    for asked_so_far in (3, 6):
        assert failure(asking(endpoint, tmp_path), request).code == "unreadable_reply"
        assert len(endpoint.asked) == asked_so_far
    endpoint.script = lambda _: "Score: 4"
    mended = asking(endpoint, tmp_path)
    (reply,) = mended.model.complete([request])
    assert (reply.choice, len(endpoint.asked)) == ("4", 7)
    replies = {mended.model.complete([request])[0], reply}
    store = ArtifactStore(str(tmp_path))
    book = CallBook.replaying(store, store.put(mended.book.to_jsonl()))
    replay = RecordedModel(IDENTITY, nobody, Tariff(), book, Meter(Budget()))
    assert {*replay.complete([request]), *replies} == {reply}
    assert len(endpoint.asked) == 7


def test_a_replay_of_unreadable_replies_says_that_they_are(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda _: "Hm."
    request = ask("Judge.", choice=SCORE)
    first = asking(endpoint, tmp_path)
    failure(first, request)
    store = ArtifactStore(str(tmp_path))
    book = CallBook.replaying(store, store.put(first.book.to_jsonl()))
    replay = RecordedModel(IDENTITY, nobody, Tariff(), book, Meter(Budget()))
    with pytest.raises(LanguageModelFailed, match="3 replies to one question") as raised:
        replay.complete([request])
    assert raised.value.code == "unreadable_reply"


def nobody() -> Source:
    raise AssertionError("a replay asks nobody")


USAGE = {"prompt_tokens": 7, "completion_tokens": 5}


@pytest.mark.parametrize(
    ("fault", "tokens"),
    [
        (completion(choices=[{"message": {"content": None, "refusal": "No."}}], usage=USAGE), 12),
        (completion(choices=[{"message": {}, "finish_reason": "content_filter"}], usage=USAGE), 12),
        (
            completion(
                choices=[{"message": {"content": "The"}, "finish_reason": "content_filter"}],
                usage=USAGE,
            ),
            12,
        ),
        (status(400, '{"error": {"code": "content_filter", "message": "filtered"}}'), 0),
        (status(400, '{"error": {"type": "content_policy_violation"}}'), 0),
    ],
)
def test_a_refused_or_filtered_reply_is_an_empty_one_and_recorded(
    endpoint: ScriptedEndpoint, tmp_path: Path, fault: Fault, tokens: int
) -> None:
    endpoint.faults += [fault]
    model = asking(endpoint, tmp_path)
    (reply,) = model.model.complete([ask("Why?")])
    assert (reply.text, reply.choice, reply.complete) == ("", None, False)
    spent = model.meter.spent
    assert (spent.calls, spent.prompt_tokens + spent.completion_tokens) == (1, tokens)
    assert model.book.spent == spent
    assert asking(endpoint, tmp_path).model.complete([ask("Why?")]) == [reply]
    assert len(endpoint.asked) == 1


def test_a_filtered_judgement_is_asked_for_again(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda _: "Score: 4"
    endpoint.faults += [status(400, '{"error": {"code": "content_filter"}}')]
    (reply,) = asking(endpoint, tmp_path).model.complete([ask("Judge.", choice=SCORE)])
    assert reply.choice == "4"


@pytest.mark.parametrize("body", ["[" * 200_000, "[]", '{"error": "content_filter"}', "{}"])
def test_another_bad_request_is_still_an_error(
    endpoint: ScriptedEndpoint, tmp_path: Path, body: str
) -> None:
    endpoint.faults += [status(400, body)]
    assert failure(asking(endpoint, tmp_path)).code == "endpoint_refused"


def test_an_endpoint_is_asked_in_the_words_that_it_takes(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    options = {
        "max_tokens_field": "max_completion_tokens",
        "temperature": False,
        "thought_tokens": 1000,
    }
    endpoint.script = lambda _: Answer("Yes.", with_usage=False)
    request = ask("Why?", temperature=0.5, top_p=0.9, sample=3)
    (reply,) = asking(endpoint, tmp_path, **options).model.complete([request])
    assert reply.completion_tokens == 1020, "the bound has room for thoughts too"
    assert endpoint.asked[0].body == {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Why?"}],
        "max_completion_tokens": 1020,
    }


def test_an_endpoint_whose_key_is_missing_fails_what_must_ask_it(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    model = asking(endpoint, tmp_path)
    model.model.complete([ask("Why?")])
    opened = open_model(
        EndpointModel(type="endpoint", endpoint=NAME, model=MODEL),
        revisions={},
        endpoints=[endpoint.access(key=None, key_missing=True)],
        calls=model.book,
        meter=model.meter,
    )
    opened.complete([ask("Why?")])
    with pytest.raises(LanguageModelFailed, match="endpoint 'scripted' can't be asked") as raised:
        opened.complete([ask("How?")])
    assert raised.value.code == "endpoint_unavailable"
    assert len(endpoint.asked) == 1


def test_one_that_is_read_at_last_is_the_reply_and_in_a_replay_too(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = in_turn(["Hm.", "Well.", "Good.\nScore: 4"])
    request = ask("Judge.", choice=SCORE)
    (reply,) = asking(endpoint, tmp_path).model.complete([request])
    assert reply.choice == "4"
    again = asking(endpoint, tmp_path)
    assert again.model.complete([request]) == [reply]
    assert again.meter.spent.replayed == 3
    assert len(endpoint.asked) == 3


def test_questions_that_become_one_when_they_are_asked_again_share_the_reply(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda asked: "Hm." if asked.body["temperature"] < 0.7 else "Score: 4"
    requests = [ask("Judge.", choice=SCORE, temperature=each) for each in (0.0, 0.5)]
    replies = asking(endpoint, tmp_path).model.complete(requests)
    assert [reply.choice for reply in replies] == ["4", "4"]
    assert len(endpoint.asked) == 3


def test_a_failure_keeps_what_was_bought_by_then(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda asked: status(400) if asked.last == "Question 3" else "Yes."
    model = asking(endpoint, tmp_path, concurrency=1)
    with pytest.raises(LanguageModelFailed):
        model.model.complete([ask(f"Question {number}") for number in range(6)])
    assert len(model.book.calls()) == 3
    assert len(endpoint.asked) == 4, "after a failure nothing more is begun"


def test_a_failure_ends_the_pauses_of_other_calls(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    busy = threading.Event()

    def answer(asked: Asked) -> str | Fault:
        if asked.last == "Busy":
            busy.set()
            return status(503, retry_after="500")
        assert busy.wait(20)
        return status(400, "the reason")

    endpoint.script = answer
    source = EndpointSource(endpoint.access(), MODEL)  # with the real pauses
    book = CallBook(ArtifactStore(str(tmp_path)), "a-run")
    model = RecordedModel(IDENTITY, lambda: source, Tariff(), book, Meter(Budget()))
    with pytest.raises(LanguageModelFailed, match="the reason"):
        model.complete([ask("Busy"), ask("Refused")])


def test_the_key_is_in_the_header_and_nowhere_else(
    endpoint: ScriptedEndpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    told = []
    echo = f"your header was Bearer {KEY}, which is wrong"
    for fault in (
        status(401, echo),
        garbage(echo),
        status(500, echo),
        cut(),
        completion(error=KEY),
    ):
        endpoint.faults += [fault]
        model = asking(endpoint, tmp_path, attempts=1)
        error = failure(model, ask(f"{fault.status} {len(told)}"))
        told += [str(error), repr(error), repr(error.__cause__), repr(error.__context__)]
    asking(endpoint, tmp_path).model.complete([ask("Why?")])
    files = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert KEY not in "\n".join([*told, *files, caplog.text, repr(endpoint.access())])
    for asked in endpoint.asked:
        headers = {name for name, value in asked.headers.items() if KEY in value}
        assert headers == {"authorization"}
        assert KEY not in json.dumps(asked.body)


def test_lone_surrogates_reach_neither_the_endpoint_nor_the_book(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda _: "half \ud83d a smile"
    (reply,) = asking(endpoint, tmp_path).model.complete([ask("half \ud83d a question")])
    assert reply.text == "half ? a smile"
    assert endpoint.asked[0].last == "half ? a question"
