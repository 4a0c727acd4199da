"""What is served is what was tuned: prompts, draws, adapters, and where an answer stops."""

import itertools
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

from api_schemas.errors import InvalidInput
from workers import base_models, tiny_model
from workers.artifacts import ArtifactStore
from workers.base_models import BaseModel
from workers.serving.adapters import Adapters
from workers.serving.generation import Generation, draw
from workers.serving.prompts import prompt_tokens
from workers.serving.requests import GenerationRequest, ServedBase, ServedModel, Turn
from workers.serving.text import TextStream, held_back

REVISION = base_models.resolve(tiny_model.NAME).revision
MODEL = ServedModel(base=ServedBase(name=tiny_model.NAME, revision=REVISION), adapter=None)
END_TOKEN = 0


@pytest.fixture
def base() -> BaseModel:
    """A load of its own: adapters are put into it."""
    return base_models.load.__wrapped__(tiny_model.NAME, REVISION)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two random adapters, as PEFT saves them."""
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        plain = transformers.AutoModelForCausalLM.from_pretrained(
            base_models.prepare(tiny_model.NAME)
        )
        config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        folder = tmp_path_factory.mktemp("adapter")
        get_peft_model(plain, config).save_pretrained(folder)
        made.append(folder)
    return made


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "artifacts"))


def request(prompt: str | list[Turn] = "red sun", **changes: Any) -> GenerationRequest:
    fields = {
        "model": MODEL,
        "owner_id": "operator",
        "prompt": prompt,
        "max_tokens": 8,
        "may_shorten": False,
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 1,
        "stop": [],
    }
    return GenerationRequest.model_validate(fields | changes)


def nothing() -> None:
    """There is no adapter to put in place."""


def zipped(store: ArtifactStore, folder: Path) -> str:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.glob("adapter_*"):
            archive.write(file, file.name)
    return store.put(path.read_bytes())


def written(generation: Generation) -> str:
    pieces = []
    while generation.end is None:
        pieces.append(generation.step())
    return "".join(pieces)


def by_peft_alone(base: BaseModel, folder: Path, prompt: str) -> str:
    plain = transformers.AutoModelForCausalLM.from_pretrained(base.folder)
    tuned = PeftModel.from_pretrained(plain, folder).eval()
    tokens = torch.tensor([base.prompt_tokens(prompt)])
    output = tuned.generate(input_ids=tokens, max_new_tokens=8, do_sample=False)
    return base.texts([output[0, tokens.shape[1] :].tolist()])[0]


def test_answers_of_several_adapters_written_in_turns_are_each_adapters_own(
    base: BaseModel, folders: list[Path], store: ArtifactStore
) -> None:
    """Token by token, as the replica does; expected is what transformers and peft give alone."""
    adapters = Adapters(base, store)
    before = written(Generation(base, nothing, request()))
    loaded = [adapters.load(zipped(store, folder)) for folder in folders]
    generations = [
        Generation(base, partial(adapters.activate, adapter), request())
        for adapter in (None, *loaded)
    ]
    answers = ["", "", ""]
    for index in itertools.cycle(range(3)):
        if generations[index].end is None:
            answers[index] += generations[index].step()
        if all(generation.end for generation in generations):
            break
    assert answers == [before, *(by_peft_alone(base, f, "red sun") for f in folders)]
    assert len(set(answers)) == 3


def test_an_adapter_that_is_removed_leaves_the_others_as_they_are(
    base: BaseModel, folders: list[Path], store: ArtifactStore
) -> None:
    adapters = Adapters(base, store)
    first, second = (adapters.load(zipped(store, folder)) for folder in folders)
    adapters.remove(first.name)
    answer = written(Generation(base, partial(adapters.activate, second), request()))
    assert answer == by_peft_alone(base, folders[1], "red sun")
    adapters.remove(second.name)
    again = adapters.load(zipped(store, folders[0]))
    answer = written(Generation(base, partial(adapters.activate, again), request()))
    assert answer == by_peft_alone(base, folders[0], "red sun")


def test_one_turn_of_the_user_is_put_to_the_model_as_a_rounds_prompt_is(base: BaseModel) -> None:
    turn = Turn(role="user", content="red sun")
    assert prompt_tokens(base, [turn]) == base.prompt_tokens("red sun")


class _Templated(BaseModel):
    """A model with another template, or none."""

    def __init__(self, base: BaseModel, template: str | None):
        tokenizer = transformers.AutoTokenizer.from_pretrained(base.folder)
        tokenizer.chat_template = template
        super().__init__(base.model, tokenizer, base.folder)


def test_without_a_template_one_turn_goes_as_it_is_and_more_are_refused(base: BaseModel) -> None:
    plain = _Templated(base, None)
    turns = [Turn(role="system", content="rain"), Turn(role="user", content="red sun")]
    assert prompt_tokens(plain, turns[1:]) == prompt_tokens(plain, "red sun")
    with pytest.raises(InvalidInput, match="no chat template") as refused:
        prompt_tokens(plain, turns)
    assert (refused.value.code, refused.value.param) == ("no_chat_template", "messages")


def test_what_a_template_refuses_is_the_callers_fault(base: BaseModel) -> None:
    strict = _Templated(base, "{{ raise_exception('roles must alternate') }}")
    turns = [Turn(role="user", content="red"), Turn(role="user", content="sun")]
    with pytest.raises(InvalidInput, match="roles must alternate"):
        prompt_tokens(strict, turns)


def test_a_prompt_without_a_token_is_refused(base: BaseModel) -> None:
    with pytest.raises(InvalidInput, match="no token"):
        prompt_tokens(base, "   ")


def test_an_answer_beyond_the_context_is_refused_or_made_shorter(base: BaseModel) -> None:
    """The tiny model's context has 64 tokens: beside a prompt of 60 there is room for 4."""
    prompt = " ".join(["red"] * 60)
    with pytest.raises(InvalidInput, match="60 tokens; with 5 to write"):
        Generation(base, nothing, request(prompt, max_tokens=5))
    endless = request(prompt, max_tokens=500, may_shorten=True, temperature=1.0)
    generation = Generation(base, nothing, endless)
    written(generation)
    assert generation.end is not None
    assert generation.end.completion_tokens <= 4
    with pytest.raises(InvalidInput, match="context of 64"):
        Generation(base, nothing, request(" ".join(["red"] * 64), may_shorten=True))


def test_usage_counts_the_prompts_tokens_and_every_token_that_was_drawn(base: BaseModel) -> None:
    generation = Generation(base, nothing, request("red sun rain", max_tokens=3))
    text = written(generation)
    assert generation.end is not None
    words = len(text.split())
    ended = generation.end.finish_reason == "stop"  # by the end token, which is no word
    assert (generation.end.prompt_tokens, generation.end.completion_tokens) == (3, words + ended)


def test_the_same_seed_draws_the_same_answer_and_others_another(base: BaseModel) -> None:
    def answers(seed: int) -> list[str]:
        asked = [request(temperature=1.0, seed=seed, max_tokens=12) for _ in range(2)]
        return [written(Generation(base, nothing, one)) for one in asked]

    drawn = [answers(seed) for seed in range(5)]
    assert all(first == second for first, second in drawn)
    assert len({first for first, _ in drawn}) > 1


def test_draws_are_distributed_as_softmax_of_the_logits_by_the_temperature() -> None:
    """Of 4000 draws a share of p has a standard error below 0.008; 4 of them are allowed."""
    logits, random = torch.tensor([0.0, 1.0, 2.0]), torch.Generator().manual_seed(5)
    counts = Counter(draw(logits, 0.5, 1.0, random) for _ in range(4000))
    expected = torch.softmax(logits / 0.5, -1)
    for token in range(3):
        assert counts[token] / 4000 == pytest.approx(float(expected[token]), abs=0.032)


def test_only_the_nucleus_is_drawn_from() -> None:
    """Probabilities 0.5, 0.3, 0.2: the first two reach 0.6 together, the first alone 0.5."""
    logits, random = torch.tensor([0.5, 0.3, 0.2]).log(), torch.Generator().manual_seed(5)
    assert {draw(logits, 1.0, 0.6, random) for _ in range(200)} == {0, 1}
    assert {draw(logits, 1.0, 0.4, random) for _ in range(200)} == {0}
    assert {draw(logits, 1.0, 1e-9, random) for _ in range(50)} == {0}
    assert {draw(logits, 0.0, 1.0, random) for _ in range(50)} == {0}


def test_an_answer_ends_before_its_stop_text_wherever_tokens_part_it(base: BaseModel) -> None:
    words = {word: index + 1 for index, word in enumerate(tiny_model.WORDS)}
    stream = TextStream(base, ["sun rain"])
    pieces = [stream.add(words[word]) for word in ("red", "sun", "blue", "sun", "rain")]
    assert "".join(pieces) == "red sun blue "
    assert pieces[1] == " "  # "sun" might have become the stop text
    assert stream.stopped
    assert stream.finish() == ""


def test_what_was_held_back_comes_at_the_end(base: BaseModel) -> None:
    stream = TextStream(base, ["red rain"])
    assert stream.add(1) == ""
    assert (stream.finish(), stream.stopped) == ("red", False)


@pytest.mark.parametrize(
    ("text", "stops", "held"),
    [
        ("a b", [], 0),
        ("caf\ufffd", [], 1),  # the first byte of é
        ("one STO", ["STOP"], 3),
        ("aab", ["ab", "abc"], 2),  # `ab` itself would have been found before
        ("x\n", ["\n\n", "\nUser:"], 1),
    ],
)
def test_text_is_held_back_only_as_far_as_it_may_change(
    text: str, stops: list[str], held: int
) -> None:
    assert held_back(text, stops) == held


@pytest.mark.parametrize("temperature", [1e-38, 1e-300, 1e-3])
def test_at_a_tiny_temperature_the_likeliest_token_is_drawn(temperature: float) -> None:
    logits_V = torch.tensor([1.0, 30.0, -5.0])
    assert draw(logits_V, temperature, 0.9, torch.Generator()) == 1
