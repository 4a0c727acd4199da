"""The playground's routes: who is answered, what is refused, and what an absent process means.

The inference process here is the real application, on a backend that writes without a model.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from playground_scenes import Writer, served
from scenes import queue_job, settle_next, settled_round
from starlette.testclient import TestClient
from support import MakeGroup, add_key

from api_schemas.errors import InvalidInput, Unavailable
from service.dependencies import AppState
from service.playground import answering, channel, inference
from service.settings import Settings
from workers.serving.requests import Text


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """SQLite alone: the queries are those of `service.models`; test_models.py asks both."""
    shutil.copy(sqlite_template, tmp_path / "truthtune.db")
    return f"sqlite:///{tmp_path / 'truthtune.db'}"


@pytest.fixture
def writer(settings: Settings) -> Iterator[Writer]:
    """The inference process, in a thread, where the API looks for it."""
    made = Writer()
    app = inference.create_app(settings, lambda: made)
    config = uvicorn.Config(app, loop="asyncio", log_level="error")
    with served(uvicorn.Server(config), [channel.listening_socket(settings)]):
        yield made


@pytest.fixture
def live_url(app: FastAPI, client: TestClient) -> Iterator[str]:
    """The running application behind a socket that a client can close."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_level="error"))
    with served(server):
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"


def chat(client: TestClient, model: str, **changes: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "red"}]} | changes
    answer: httpx.Response = client.post("/v1/chat/completions", json=body)
    return answer


def only_model(client: TestClient) -> str:
    (model,) = client.get("/v1/models").json()["data"]
    return str(model["id"])


def test_without_an_inference_process_the_answer_says_what_to_start(
    operator: TestClient, state: AppState
) -> None:
    settled_round(state)
    answer = chat(operator, only_model(operator))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["code"] == "inference_not_running"
    assert "`truthtune inference`" in answer.json()["detail"]


def test_an_answer_is_asked_for_as_the_request_says(
    operator: TestClient, state: AppState, writer: Writer
) -> None:
    settled_round(state)
    model = operator.get("/v1/models").json()["data"][0]
    parts = [{"type": "text", "text": "red "}, {"type": "text", "text": "sun"}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    sampling = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": "rain", "max_tokens": 5}
    answer = chat(operator, model["id"], messages=messages, **sampling).json()
    assert answer["choices"][0]["message"]["content"] == "blue sun"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    (asked,) = writer.asked
    assert asked.model.base.name == model["base_model"]
    assert asked.model.base.revision == model["base_model_revision"]
    archive = operator.get(f"/v1/models/{model['id']}/adapter.zip")
    assert f'"{asked.model.adapter}"' == archive.headers["ETag"]
    assert [(turn.role, turn.content) for turn in asked.prompt] == [  # type: ignore[union-attr]
        ("system", "Be brief."),
        ("user", "red sun"),
    ]
    assert asked.model_dump(include=set(sampling) - {"stop"}) == {
        name: value for name, value in sampling.items() if name != "stop"
    }
    assert (asked.stop, asked.may_shorten, asked.owner_id) == (["rain"], False, "operator")


def test_without_a_limit_an_answer_may_be_as_long_as_there_is_room(
    operator: TestClient, state: AppState, writer: Writer
) -> None:
    settled_round(state)
    chat(operator, "tiny-enumerable")
    operator.post("/v1/completions", json={"model": "tiny-enumerable", "prompt": "red"})
    limits = [(asked.max_tokens, asked.may_shorten) for asked in writer.asked]
    assert limits == [(state.settings.inference_max_tokens, True), (16, True)]


def test_a_base_model_is_asked_without_an_adapter_with_the_weights_of_its_newest_round(
    operator: TestClient, state: AppState, writer: Writer
) -> None:
    settled_round(state)
    newest = "sha256:" + "7" * 64
    queue_job(state.database, base_model_revision=newest)
    settle_next(state)
    assert chat(operator, "tiny-enumerable").status_code == 200
    assert (writer.asked[0].model.adapter, writer.asked[0].model.base.revision) == (None, newest)


def test_models_are_for_the_groups_of_their_rounds_alone(
    make_group: MakeGroup, state: AppState, writer: Writer
) -> None:
    """Whoever was excluded, or did not take part, is told the same of a model and of none."""
    member_id, member = make_group("teachers")
    excluded_id, excluded = make_group("pupils")
    _, outsider = make_group("parents")
    queue_job(state.database, sorted([member_id, excluded_id]))
    settle_next(state, excluded={excluded_id: "sample 3 has no score"})
    model = only_model(member)
    for name in (model, "tiny-enumerable"):
        assert chat(member, name).status_code == 200
        assert member.get(f"/v1/models/{name}").status_code == 200
        for other in (excluded, outsider):
            refused = chat(other, name)
            assert (refused.status_code, refused.json()["code"]) == (404, "model_not_found")
            assert other.get(f"/v1/models/{name}").status_code == 404
    assert {asked.owner_id for asked in writer.asked} == {member_id}


def test_before_its_round_is_settled_a_base_model_is_notserved(
    operator: TestClient, state: AppState
) -> None:
    queue_job(state.database)
    assert chat(operator, "tiny-enumerable").status_code == 404
    assert chat(operator, "tiny\n-enumerable").status_code == 404


REFUSED: dict[str, dict[str, Any]] = {
    "n": {"n": 2},
    "tools": {"tools": []},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "logprobs": {"logprobs": True},
    "temperature": {"temperature": 2.5},
    "top_p": {"top_p": 0},
    "max_tokens": {"max_tokens": 1025},
    "max_completion_tokens": {"max_completion_tokens": 1025},
    "stop": {"stop": ["a", "b", "c", "d", "e"]},
    "messages": {"messages": []},
    "messages[0].content": {"messages": [{"role": "user", "content": 5}]},
    "messages[0].role": {"messages": [{"role": "tool", "content": "x"}]},
}


def test_what_is_not_supported_is_refused_by_its_name(
    operator: TestClient, state: AppState
) -> None:
    settled_round(state)
    for param, changes in REFUSED.items():
        refused = chat(operator, "tiny-enumerable", **changes)
        problem = refused.json()
        assert (refused.status_code, problem["param"]) == (422, param)
        assert (problem["error"]["message"], problem["error"]["param"]) == (
            problem["detail"],
            param,
        )


def test_a_stream_has_openais_chunks_and_ends_with_done(
    operator: TestClient, state: AppState, writer: Writer
) -> None:
    settled_round(state)
    answer = chat(operator, "tiny-enumerable", stream=True, stream_options={"include_usage": True})
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    *lines, done = answer.text.removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks[:3]] == ["", "blue ", "sun"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:4]] == [None] * 3 + ["length"]
    assert (chunks[4]["choices"], chunks[4]["usage"]["total_tokens"]) == ([], 5)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


def test_a_failure_before_the_first_piece_has_its_status(
    operator: TestClient, state: AppState, writer: Writer
) -> None:
    settled_round(state)
    no_room = Unavailable("no room", code="inference_busy")
    too_long = InvalidInput("too long", code="context_length_exceeded", param="messages")
    unknown = RuntimeError("a secret of the machine")
    expected: list[tuple[Exception, tuple[int, str]]] = [
        (no_room, (503, "inference_busy")),
        (too_long, (422, "context_length_exceeded")),
        (unknown, (503, "inference_failed")),
    ]
    for stream in (True, False):
        for error, said in expected:
            writer.answer = [error]
            answer = chat(operator, "tiny-enumerable", stream=stream)
            assert (answer.status_code, answer.json()["code"]) == said
            assert "secret" not in answer.text


def test_a_failure_in_the_middle_of_a_stream_is_its_last_event(
    operator: TestClient, state: AppState, writer: Writer
) -> None:
    settled_round(state)
    writer.answer = [Text(text="blue"), RuntimeError("the machine is gone")]
    answer = chat(operator, "tiny-enumerable", stream=True)
    last = json.loads(answer.text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert last["error"]["code"] == "inference_failed"
    assert "[DONE]" not in answer.text


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_its_answer(
    live_url: str, state: AppState, writer: Writer, stream: bool
) -> None:
    settled_round(state)
    writer.answer, writer.endless = [Text(text="blue")], True
    headers = {"Authorization": f"Bearer {add_key(state, 'operator', None)}"}
    body = {"model": "tiny-enumerable", "prompt": "red", "stream": stream}
    url = f"{live_url}/v1/completions"
    if stream:
        with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as answer:
            assert "blue" in next(answer.iter_text())
            assert not writer.ended.is_set()
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url, json=body, headers=headers, timeout=2)
    assert writer.ended.wait(20)


def test_an_answer_that_takes_too_long_is_given_up_and_ended(
    operator: TestClient, state: AppState, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled_round(state)
    monkeypatch.setattr(answering, "ANSWER_SECONDS", 0.2)
    writer.endless, writer.answer = True, []
    answer = chat(operator, "tiny-enumerable")
    assert (answer.status_code, answer.json()["code"]) == (504, "answer_timeout")
    assert answer.headers["x-should-retry"] == "false"
    assert writer.ended.wait(20)


def test_the_inference_process_answers_nobody_but_its_api(
    settings: Settings, state: AppState, writer: Writer
) -> None:
    path = channel.socket_path(settings)
    assert path.stat().st_mode & 0o777 == 0o600
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        for given in ("", "Bearer x", f"Bearer {add_key(state, 'operator', None)}"):
            answer = client.post("http://inference/generate", headers={"Authorization": given})
            assert answer.status_code == 401
    assert writer.asked == []


def test_a_second_inference_process_does_not_take_the_firsts_place(
    settings: Settings, writer: Writer
) -> None:
    with pytest.raises(Unavailable, match="another one does already"):
        channel.listening_socket(settings)


def test_a_home_whose_path_is_too_long_for_a_socket_is_told_what_to_set(tmp_path: Path) -> None:
    long = Settings(home=tmp_path / ("x" * 100))
    with pytest.raises(Unavailable, match="TRUTHTUNE_INFERENCE_URL"):
        channel.listening_socket(long)


def test_on_another_machine_the_process_listens_where_its_url_says() -> None:
    settings = Settings(inference_url="http://inference:0", inference_host="127.0.0.1")
    with channel.listening_socket(settings) as listening:
        url = f"http://inference:{listening.getsockname()[1]}"
        assert listening.getsockname()[0] == "127.0.0.1"
        taken = settings.model_copy(update={"inference_url": url})
        listening.listen()
        with pytest.raises(Unavailable, match="t listen at 127"):
            channel.listening_socket(taken)
