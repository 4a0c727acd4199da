"""The official `openai` client, unchanged, against a real API and a real inference process."""

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import transformers
from openai import OpenAI
from openai_scenes import Served, running
from peft import PeftModel

from workers import base_models, tiny_model

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "playground.md"
PROMPTS = ("red sun", "green rain", "blue")
TOKENS = 8


@pytest.fixture(scope="module")
def served(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One Ray for the whole module: the first answer starts it."""
    with running(sqlite_template, tmp_path_factory.mktemp("served"), tiny_model.NAME) as served:
        yield served


def by_transformers(base_model: str, prompt: str, folder: Path | None, tokens: int) -> str:
    """The greedy answer as whoever downloads the model gets it, without any code of ours."""
    source = base_models.prepare(base_model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    model = transformers.AutoModelForCausalLM.from_pretrained(source)
    if folder is not None:
        model = PeftModel.from_pretrained(model, folder)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    inputs.pop("token_type_ids", None)
    output = model.eval().generate(**inputs, max_new_tokens=tokens, do_sample=False)
    start = inputs["input_ids"].shape[1]
    return str(tokenizer.decode(output[0, start:], skip_special_tokens=True))


def chat(client: OpenAI, model: str, prompt: str, **options: Any) -> str:
    """The greedy answer, from the API."""
    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        temperature=0,
        **({"max_tokens": TOKENS} | options),
    )
    return str(answer.choices[0].message.content)


def test_models_answer_as_plain_transformers_and_peft_do(served: Served) -> None:
    client = served.client()
    for model, folder in ((served.model_id, served.folder), (tiny_model.NAME, None)):
        answers = [chat(client, model, prompt) for prompt in PROMPTS]
        expected = [by_transformers(tiny_model.NAME, p, folder, TOKENS) for p in PROMPTS]
        assert answers == expected
    assert [chat(client, served.model_id, prompt) for prompt in PROMPTS] != answers


def test_a_stream_is_the_same_answer_in_pieces_with_its_usage(served: Served) -> None:
    client = served.client()
    whole = client.chat.completions.create(
        model=served.model_id,
        messages=[{"role": "user", "content": "red sun"}],
        temperature=0,
        max_completion_tokens=TOKENS,
    )
    chunks = list(
        client.chat.completions.create(
            model=served.model_id,
            messages=[{"role": "user", "content": "red sun"}],
            temperature=0,
            max_completion_tokens=TOKENS,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *written, last, usage = chunks
    text = "".join(chunk.choices[0].delta.content or "" for chunk in written)
    assert text == whole.choices[0].message.content
    assert last.choices[0].finish_reason == whole.choices[0].finish_reason
    assert (usage.choices, usage.usage) == ([], whole.usage)
    assert len(written) > 2
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == 2  # the words


def test_a_completion_goes_on_with_the_text_as_it_is(served: Served) -> None:
    """The tiny model's template is the text itself, so that both routes say the same."""
    client = served.client()
    asked = {"model": served.model_id, "temperature": 0, "max_tokens": TOKENS}
    whole = client.completions.create(prompt="red sun", **asked)
    chunks = client.completions.create(prompt=["red sun"], stream=True, **asked)
    text = "".join(chunk.choices[0].text for chunk in chunks)
    assert text == whole.choices[0].text == chat(client, served.model_id, "red sun")


def test_the_asynchronous_client_works_and_its_answers_share_the_model(served: Served) -> None:
    async def ask() -> list[str]:
        key = served.keys["member"]
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=key) as client:
            asked = [
                client.completions.create(
                    model=model, prompt=prompt, temperature=0, max_tokens=TOKENS
                )
                for model in (served.model_id, tiny_model.NAME)
                for prompt in PROMPTS[:2]
            ]
            return [answer.choices[0].text for answer in await asyncio.gather(*asked)]

    client = served.client()
    one_by_one = [
        chat(client, model, prompt)
        for model in (served.model_id, tiny_model.NAME)
        for prompt in PROMPTS[:2]
    ]
    assert asyncio.run(ask()) == one_by_one


def test_only_groups_of_the_round_are_answered(served: Served) -> None:
    outsider = served.client("outsider")
    for model in (served.model_id, tiny_model.NAME):
        with pytest.raises(openai.NotFoundError) as refused:
            chat(outsider, model, "red sun")
        assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.NotFoundError):
            outsider.models.retrieve(model)
    assert outsider.models.list().data == []


def test_the_list_and_its_models_are_what_the_client_expects(served: Served) -> None:
    client = served.client()
    (listed,) = client.models.list()
    tuned, base = (client.models.retrieve(name) for name in (served.model_id, tiny_model.NAME))
    assert (tuned.id, tuned.created, tuned.owned_by) == (listed.id, listed.created, "truthtune")
    assert (base.id, base.owned_by) == (tiny_model.NAME, "base_model")


def test_the_pages_code_asks_both_models(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    monkeypatch.setenv("TRUTHTUNE_URL", served.url)
    monkeypatch.setenv("TRUTHTUNE_API_KEY", served.keys["member"])
    exec(code, {})
    _, base, tuned = capsys.readouterr().out.split("\n")
    assert base.startswith(f"{tiny_model.NAME}: ")
    assert tuned.startswith(f"{served.model_id}: ")


def test_errors_come_with_the_clients_own_names(served: Served) -> None:
    client = served.client()
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        chat(client, served.model_id, "red", n=2)
    assert (refused.value.code, refused.value.param) == ("invalid_input", "n")
    with pytest.raises(openai.UnprocessableEntityError, match="context of 64") as refused:
        chat(client, served.model_id, "red " * 60)
    assert refused.value.code == "context_length_exceeded"
    stranger = OpenAI(base_url=f"{served.url}/v1", api_key="tt_grp_none", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        chat(stranger, served.model_id, "red")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_smollm2_answers_as_plain_transformers_and_peft_do_and_stops_when_nobody_listens(
    sqlite_template: Path, tmp_path: Path
) -> None:
    """24 tokens, some of which are parts of words and of one character in several bytes. With room
    for one answer, another comes only once the one of a thousand tokens was ended."""
    name, prompt = "smollm2-135m-instruct", "Write three words in French, with accents."
    with running(sqlite_template, tmp_path, name, at_once=1) as served:
        client = served.client().with_options(max_retries=5)
        for model, folder in ((name, None), (served.model_id, served.folder)):
            expected = by_transformers(name, prompt, folder, 24)
            assert chat(client, model, prompt, max_tokens=24) == expected
            assert "".join(_pieces(client, model, prompt, 24)) == expected
        endless = _pieces(client, name, "Count to a thousand.", 1000)
        first = next(endless)
        started = time.monotonic()
        endless.close()
        assert first == next(_pieces(client, name, "Count to a thousand.", 1000))
        assert time.monotonic() - started < 40  # a thousand tokens take minutes


def _pieces(client: OpenAI, model: str, prompt: str, tokens: int) -> Iterator[str]:
    """Closing it closes the connection."""
    with client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        temperature=0,
        max_tokens=tokens,
        stream=True,
    ) as chunks:
        for chunk in chunks:
            if content := chunk.choices[0].delta.content:
                yield content
