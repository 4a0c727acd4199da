"""A base model that writes and judges in this process, on the model whose every reply can be
computed by hand."""

import functools
import itertools
from pathlib import Path

import pytest
import torch
from language_model_support import ask

from api_schemas.errors import BudgetExhausted, InvalidInput
from api_schemas.language_models import Budget, LocalModel
from workers import base_models, tiny_model
from workers.artifacts import ArtifactStore
from workers.base_models import BaseModel
from workers.decoder import Decoder
from workers.language_models.call_book import CallBook
from workers.language_models.chat import ChatRequest, Choice, LanguageModel, Message
from workers.language_models.local import option_log_probs, sharpened
from workers.language_models.meter import Meter
from workers.language_models.opening import open_model

SPEC = LocalModel(type="local", base_model=tiny_model.NAME)
COLOURS = Choice("sun", ("red", "green", "blue"))


@pytest.fixture(scope="module")
def revision() -> str:
    return base_models.resolve(tiny_model.NAME).revision


@pytest.fixture(scope="module")
def base(revision: str) -> BaseModel:
    return base_models.load_in_full_precision(tiny_model.NAME, revision)


def opened(folder: Path, revision: str, budget: Budget | None = None) -> LanguageModel:
    return open_model(
        SPEC,
        revisions={tiny_model.NAME: revision},
        endpoints=[],
        calls=CallBook(ArtifactStore(str(folder)), "a-run"),
        meter=Meter(budget or Budget()),
    )


def test_a_reply_does_not_depend_on_what_is_asked_beside_it(tmp_path: Path, revision: str) -> None:
    requests = [
        ask(text, max_tokens=tokens, temperature=temperature, top_p=top_p, sample=s, choice=choice)
        for text in ("red sun", "rain rain green blue sun")
        for tokens, temperature, top_p in ((6, 0.0, 1.0), (6, 0.8, 1.0), (9, 1.5, 0.7))
        for s in range(2)
        for choice in (None, COLOURS)
    ]
    together = opened(tmp_path / "together", revision).complete(requests)
    alone = opened(tmp_path / "alone", revision)
    assert together == [alone.complete([request])[0] for request in requests]
    assert together == opened(tmp_path / "again", revision).complete(requests[::-1])[::-1]
    assert len({reply.text for reply in together}) > 6


def test_the_likeliest_tokens_are_those_of_the_model_itself(
    tmp_path: Path, revision: str, base: BaseModel
) -> None:
    texts = ["red sun", "green", "blue rain rain"]
    replies = opened(tmp_path, revision).complete([ask(text, max_tokens=7) for text in texts])
    for text, reply in zip(texts, replies, strict=True):
        prompt = torch.tensor([base.prompt_tokens(text)])
        expected = base.model.generate(prompt, max_new_tokens=7, do_sample=False)[0]
        written = expected[prompt.shape[1] :].tolist()
        assert reply.text == base.texts([written])[0]
        assert reply.prompt_tokens == prompt.shape[1]
        assert reply.completion_tokens == len(written)
        assert reply.complete == (written[-1] == 0)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 1.0), (1.0, 0.7)])
def test_every_token_is_drawn_as_often_as_its_probability_says(
    temperature: float, top_p: float
) -> None:
    """At 10,000 uniforms that are spread evenly each token comes as often as it should, to 1."""
    logits_RV = torch.tensor([[0.5, 2.0, -1.0, 1.5], [3.0, 0.0, 0.0, 1.0]])
    uniforms = ((torch.arange(10_000) + 0.5) / 10_000).expand(2, -1).contiguous()
    drawn = sharpened(temperature, top_p, logits_RV, uniforms)
    for logits, tokens in zip(logits_RV, drawn, strict=True):
        expected = torch.softmax(logits.double() / temperature, -1)
        order = expected.argsort(descending=True)
        size = int((expected[order].cumsum(0) < top_p).sum()) + 1
        outside = order[size:]
        expected[outside] = 0.0
        expected /= expected.sum()
        counts = torch.bincount(tokens, minlength=4)
        assert torch.allclose(counts.double(), expected * 10_000, atol=2)


def test_a_tiny_nucleus_is_the_likeliest_token_alone() -> None:
    logits_RV = torch.tensor([[0.0, 0.0, 0.0], [1.0, 3.0, 2.0]])
    uniforms = torch.tensor([[0.99], [0.99]])
    assert sharpened(1.0, 1e-9, logits_RV, uniforms).tolist() == [[0], [1]]
    assert sharpened(0.0, 1.0, logits_RV, uniforms).tolist() == [[0], [1]]
    assert sharpened(1e-30, 1.0, logits_RV, uniforms)[1].tolist() == [1]


def _next(base: BaseModel, tokens: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits = base.model(input_ids=torch.tensor([tokens])).logits[0, -1]
    return torch.softmax(logits.double(), -1)


def test_a_choice_is_decided_by_the_models_own_probabilities(base: BaseModel) -> None:
    """After prompt, text and cue; computed here by one pass a token, without any of our code."""
    prompt = base.prompt_tokens("rain sun")
    words = {word: number for number, word in enumerate(tiny_model.WORDS, start=1)}
    for text, cue in itertools.product(("", "green", "blue blue red"), tiny_model.WORDS):
        written = [words[word] for word in [*text.split(), cue]]
        after = _next(base, prompt + written)
        found = option_log_probs(
            base, Decoder(base.model), prompt, text, Choice(cue, ("red", "rain"))
        )
        expected = torch.stack([after[words["red"]], after[words["rain"]]]).log()
        assert torch.allclose(found, expected, atol=1e-5)


def test_an_option_that_begins_another_gets_only_what_is_its_own(base: BaseModel) -> None:
    """Else "1" would always beat "10". P(red) − P(red sun); P(red sun) − P(red sun rain)."""
    prompt = base.prompt_tokens("rain sun")
    red, sun, rain = (tiny_model.WORDS.index(word) + 1 for word in ("red", "sun", "rain"))
    cue = [tiny_model.WORDS.index("blue") + 1]
    one = _next(base, prompt + cue)[red]
    two = one * _next(base, [*prompt, *cue, red])[sun]
    three = two * _next(base, [*prompt, *cue, red, sun])[rain]
    choice = Choice("blue", ("red", "red sun", "red sun rain"))
    found = option_log_probs(base, Decoder(base.model), prompt, "", choice).exp()
    expected = torch.stack([one - two, two - three, three])
    assert torch.allclose(found, expected, atol=1e-6)
    assert float(found.sum()) == pytest.approx(float(one), abs=1e-6)


def test_a_local_judge_always_chooses_and_its_text_ends_with_the_choice(
    tmp_path: Path, revision: str, base: BaseModel
) -> None:
    requests = [
        ask("red", max_tokens=4, temperature=1.0, sample=s, choice=COLOURS) for s in range(9)
    ]
    for reply in opened(tmp_path, revision).complete(requests):
        assert reply.choice in COLOURS.options
        lead, _, last = reply.text.rpartition("\n")
        assert last == f"sun {reply.choice}"
        assert "sun" not in lead.split()[:1], "what it wrote of the line itself is dropped"
        log_probs = option_log_probs(
            base, Decoder(base.model), base.prompt_tokens("red"), lead, COLOURS
        )
        assert reply.choice == COLOURS.options[int(log_probs.argmax())]


def test_a_prompt_beyond_the_context_is_refused_before_anything_is_written(
    tmp_path: Path, revision: str
) -> None:
    model = opened(tmp_path, revision)
    with pytest.raises(InvalidInput) as raised:
        model.complete([ask("red"), ask("red " * 50)])
    assert raised.value.code == "prompt_too_long"
    assert "50 tokens" in raised.value.message
    assert "20 to write" in raised.value.message
    assert "context of 64" in raised.value.message
    assert CallBook(ArtifactStore(str(tmp_path)), "a-run").calls() == []


def test_a_local_models_tokens_count_too_and_what_it_wrote_is_kept(
    tmp_path: Path, revision: str
) -> None:
    """A bound is 1 token read and 3 to write: there is room for three such calls at the most."""
    requests = [ask("red", max_tokens=3, temperature=1.0, sample=s) for s in range(40)]
    budget = Budget(max_tokens=12)
    with pytest.raises(BudgetExhausted):
        opened(tmp_path, revision, budget).complete(requests)
    calls = CallBook(ArtifactStore(str(tmp_path)), "a-run").calls()
    spent = sum(each.usage.tokens for each in calls)
    assert len(calls) >= 3
    assert 12 - 4 < spent <= 12
    resumed = opened(tmp_path, revision, Budget(max_tokens=1000)).complete(requests)
    whole = opened(tmp_path / "whole", revision).complete(requests)
    assert resumed == whole


def test_progress_is_told_reply_by_reply(tmp_path: Path, revision: str) -> None:
    counts: list[int] = []
    requests = [ask("red", max_tokens=2, temperature=1.0, sample=s) for s in range(5)]
    model = opened(tmp_path, revision)
    model.complete(requests[:2])
    model.complete(requests, counts.append)
    assert counts == [2, 3, 4, 5]


def test_a_base_model_that_was_not_pinned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="was not resolved"):
        open_model(
            SPEC,
            revisions={},
            endpoints=[],
            calls=CallBook(ArtifactStore(str(tmp_path)), "a-run"),
            meter=Meter(Budget()),
        )


def test_other_weights_than_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as raised:
        opened(tmp_path, f"sha256:{'0' * 64}").complete([ask("red")])
    assert raised.value.code == "base_model_changed"


@pytest.mark.slow
def test_a_real_model_is_told_what_the_system_says_and_scores(tmp_path: Path) -> None:
    name = "smollm2-135m-instruct"
    revision = base_models.resolve(name).revision
    base = base_models.load_in_full_precision(name, revision)
    model = open_model(
        LocalModel(type="local", base_model=name),
        revisions={name: revision},
        endpoints=[],
        calls=CallBook(ArtifactStore(str(tmp_path)), "a-run"),
        meter=Meter(Budget()),
    )
    messages = [
        Message("system", "You judge."),
        Message("user", "How good is the answer 4 to 2+2?"),
    ]
    choice = Choice("Score:", tuple(str(score) for score in range(1, 11)))
    (reply,) = model.complete([ChatRequest(tuple(messages), max_tokens=30, choice=choice)])
    told = [{"role": each.role, "content": each.content} for each in messages]
    text = base.tokenizer.apply_chat_template(told, add_generation_prompt=True, tokenize=False)
    prompt = list(base.tokenizer(text, add_special_tokens=False)["input_ids"])
    assert reply.prompt_tokens == len(prompt)
    lead = reply.text.rpartition("\n")[0]
    tokens = functools.partial(base.tokenizer, add_special_tokens=False)
    shares = []
    for option in choice.options:
        given = prompt + tokens(f"{lead}\nScore:")["input_ids"]
        share = 1.0
        for token in tokens(f" {option}")["input_ids"]:
            share *= float(_next(base, given)[token])
            given = [*given, token]
        shares.append(share)
    shares[0] -= shares[9]  # "1" begins "10"
    assert reply.choice == choice.options[shares.index(max(shares))]
