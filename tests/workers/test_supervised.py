"""Supervised fine-tuning on the six-word model, against plain transformers and PEFT."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import fine_tuned_support as support
import pytest
import torch
from conftest import InProcess
from safetensors.torch import load as load_tensors

from api_schemas.errors import InvalidInput, TruthtuneError
from api_schemas.fine_tuned_models import BaseModelCreate, BaseModelResult, SupervisedFineTuning
from api_schemas.jobs import BaseModelJobInput, ProgressEvent
from api_schemas.preference_methods import WeightAveraged
from workers import base_models, own_base_models, tiny_model
from workers.artifacts import ArtifactStore, canonical_json
from workers.question_answers import QuestionAnswer, hold_out, read_question_answers
from workers.stages import fine_tune
from workers.stages.context import StageContext, TaskContext
from workers.supervised.examples import Example, ExampleBatch, examples_of, parts_of, steps_of
from workers.supervised.fine_tuning import SupervisedTraining, measured_steps, rate_share
from workers.supervised.kept_state import KeptState

END = 0
"""The tiny model's end token; its words are 1 (red), 2 (green), 3 (blue), 4 (sun), 5 (rain)."""
REVISION = support.REVISION
NAME = "bm_" + "s" * 26
QUESTIONS = ("red", "green", "blue", "sun", "rain", "red sun", "green rain", "blue sun")
ANSWERS = ("rain rain", "rain rain sun", "rain", "rain rain rain", "sun rain", "rain sun", "rain")


def as_lines(pairs: list[tuple[str, str]]) -> bytes:
    rows = [{"question": question, "answer": answer} for question, answer in pairs]
    return b"".join(canonical_json(row) + b"\n" for row in rows)


def lines(count: int) -> list[tuple[str, str]]:
    """Answers full of rain, which the model can learn."""
    return [(QUESTIONS[k % 8], ANSWERS[k % 7]) for k in range(count)]


def method(**changes: Any) -> SupervisedFineTuning:
    told = {"lora_rank": 4, "lora_alpha": 8.0, "learning_rate": 0.01, "batch_size": 8, "epochs": 2}
    return SupervisedFineTuning.model_validate({**told, "checkpoints": 3, **changes})


class Making:
    """The job of a base model, run in this process; `events` are what it told, `forgotten` are the
    trainings whose kept state it said it needs no longer."""

    def __init__(self, folder: Path, train: Any = None, holdout: Any = None, **changes: Any):
        self.artifacts = ArtifactStore(str(folder))
        self.events: list[ProgressEvent] = []
        self.forgotten: list[str] = []
        settings = {"name": "rain", "base_model": tiny_model.NAME, "file_id": "file_" + "a" * 26}
        held_out = None if holdout is None else self.artifacts.put(as_lines(holdout))
        self.job = BaseModelJobInput(
            base_model_id=NAME,
            settings=BaseModelCreate.model_validate({**settings, "method": method(**changes)}),
            base_model_revision=REVISION,
            lines=self.artifacts.put(as_lines(train or lines(40))),
            holdout=held_out,
        )

    def run(self) -> BaseModelResult:
        task = TaskContext(self.job, self.artifacts, self.events.append)
        runner: Any = InProcess(task)
        runner.forget_training = self.forgotten.append
        context: Any = StageContext(self.job, self.artifacts, self.events.append, {}, runner)
        return BaseModelResult.model_validate_json(self.artifacts.get(fine_tune.run(context)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Making, BaseModelResult]:
    making = Making(tmp_path_factory.mktemp("artifacts"), holdout=lines(13)[8:])
    return making, making.run()


@pytest.fixture
def model_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TRUTHTUNE_MODEL_CACHE", str(tmp_path / "models"))
    yield tmp_path / "models"
    base_models.load.cache_clear()


def plain_model() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base_models.prepare(tiny_model.NAME)).eval()


@torch.no_grad()
def loss_by_hand(model: Any, pairs: list[tuple[str, str]]) -> float:
    """−mean log π(token) over answer tokens and their end tokens, a line at a time."""
    base, nats = support.tiny_base(), []
    for question, answer in pairs:
        prompt, target = base.prompt_tokens(question), [*base.prompt_tokens(answer), END]
        logits = model(input_ids=torch.tensor([[*prompt, *target]])).logits[0]
        log_p = logits.log_softmax(-1)
        nats += [-float(log_p[len(prompt) - 1 + k, token]) for k, token in enumerate(target)]
    return sum(nats) / len(nats)


def test_the_held_out_loss_is_that_of_plain_transformers(
    made: tuple[Making, BaseModelResult],
) -> None:
    """Before the first step, and with each checkpoint as plain PEFT loads it."""
    making, result = made
    assert result.curve[0].step == 0
    assert result.curve[0].train_loss is None
    assert result.curve[0].holdout_loss == pytest.approx(
        loss_by_hand(plain_model(), lines(13)[8:]), abs=1e-6
    )
    for checkpoint in result.checkpoints:
        tuned = with_peft(making.artifacts, checkpoint)
        assert checkpoint.holdout_loss == pytest.approx(
            loss_by_hand(tuned, lines(13)[8:]), abs=1e-5
        )


def with_peft(artifacts: ArtifactStore, checkpoint: Any) -> Any:
    import tempfile

    from peft import PeftModel

    with tempfile.TemporaryDirectory() as folder:
        weights = artifacts.get(checkpoint.adapter_sha256)
        Path(folder, "adapter_model.safetensors").write_bytes(weights)
        Path(folder, "adapter_config.json").write_bytes(artifacts.get(checkpoint.config_sha256))
        return PeftModel.from_pretrained(plain_model(), folder).eval()


def test_the_result_tells_the_curve_and_the_best_checkpoint_is_below_the_start(
    made: tuple[Making, BaseModelResult],
) -> None:
    """40 lines in batches of 8, twice: 10 steps, measured after 3, 6 and 10 of them."""
    making, result = made
    assert [point.step for point in result.curve] == [0, 3, 6, 10]
    assert [each.step for each in result.checkpoints] == [3, 6, 10]
    assert (result.lines, result.holdout_lines, result.cut_lines) == (40, 5, 0)
    losses = {point.step: point.holdout_loss for point in result.curve}
    assert losses[result.best_step] == min(losses.values()) < losses[0]
    assert result.started_from == REVISION
    assert b"held out" in making.artifacts.get(result.plot_sha256)
    told = [event.data for event in making.events if "holdout_loss" in event.data]
    assert [(each["step"], each["holdout_loss"]) for each in told] == list(losses.items())
    assert sum("train_loss" in e.data and "holdout_loss" not in e.data for e in making.events) == 10
    assert making.forgotten == [fine_tune.run_name(making.job)]


def test_the_merged_model_is_a_plain_folder_that_computes_as_the_adapter_on_its_base(
    made: tuple[Making, BaseModelResult], model_cache: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    making, result = made
    folder = own_base_models.materialise(making.artifacts, NAME, result.revision)
    assert base_models.resolve(NAME).revision == result.revision
    merged = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert {p.dtype for p in merged.parameters()} == {torch.float32}
    tokens = AutoTokenizer.from_pretrained(folder)("red sun rain blue", return_tensors="pt")
    (best,) = (each for each in result.checkpoints if each.step == result.best_step)
    tuned = with_peft(making.artifacts, best)
    with torch.no_grad():
        expected, before = tuned(**tokens).logits, plain_model()(**tokens).logits
        torch.testing.assert_close(merged(**tokens).logits, expected, atol=1e-5, rtol=1e-5)
    assert float((expected - before).abs().max()) > 0.1
    tokenizer_files = [file for file in folder.iterdir() if "tokenizer" in file.name]
    assert len(tokenizer_files) == 2
    for file in tokenizer_files:
        origin = base_models.prepare(tiny_model.NAME) / file.name
        assert file.read_bytes() == origin.read_bytes()


def test_a_fine_tuned_model_is_loaded_by_its_name_and_can_be_fine_tuned_further(
    made: tuple[Making, BaseModelResult], model_cache: Path, tmp_path: Path
) -> None:
    making, result = made
    own_base_models.materialise(making.artifacts, NAME, result.revision)
    base = base_models.load(NAME, result.revision)
    second = Making(tmp_path / "artifacts", holdout=lines(13)[8:], epochs=1)
    settings = second.job.settings.model_copy(update={"base_model": NAME})
    update = {"settings": settings, "base_model_revision": result.revision}
    second.job = second.job.model_copy(update=update)
    found = second.run()
    assert found.started_from == result.revision
    merged_loss = loss_by_hand(base.model, lines(13)[8:])
    assert found.curve[0].holdout_loss == pytest.approx(merged_loss, abs=1e-6)
    best = min(each.holdout_loss for each in result.checkpoints)
    assert merged_loss == pytest.approx(best, abs=1e-5)


class Killed(Exception):
    """Stands for the death of the process."""


@pytest.mark.parametrize("step", [1, 3, 8])
def test_a_fine_tuning_that_was_killed_goes_on_as_if_nothing_had_happened(
    made: tuple[Making, BaseModelResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    """To the bit: the same revision, curve and checkpoints. Killed before the first checkpoint,
    just after it, and after the second."""
    _, undisturbed = made
    making = Making(tmp_path / "artifacts", holdout=lines(13)[8:])
    update = SupervisedTraining._update

    def dies(self: SupervisedTraining, examples: Any) -> Any:
        if self.step == step:
            raise Killed
        return update(self, examples)

    monkeypatch.setattr(SupervisedTraining, "_update", dies)
    with pytest.raises(Killed):
        making.run()
    monkeypatch.setattr(SupervisedTraining, "_update", update)
    told = len(making.events)
    assert making.run() == undisturbed
    steps = [event.data.get("step") for event in making.events[told:]]
    assert steps[0] == {1: 0, 3: 4, 8: 7}[step]


def test_a_checkpoint_that_is_gone_from_the_store_begins_the_training_again(
    made: tuple[Making, BaseModelResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    making = Making(tmp_path / "artifacts", holdout=lines(13)[8:])
    monkeypatch.setattr(fine_tune, "_best", _dies)
    with pytest.raises(Killed):
        making.run()
    monkeypatch.undo()
    gone = made[1].checkpoints[0].adapter_sha256.removeprefix("sha256:")
    next(Path(making.artifacts.url).glob(f"*/{gone}")).unlink()
    told = len(making.events)
    assert making.run() == made[1]
    assert making.events[told].data["step"] == 0


def _dies(*_arguments: Any) -> None:
    raise Killed


def test_the_seed_decides_everything(made: tuple[Making, BaseModelResult], tmp_path: Path) -> None:
    holdout = lines(13)[8:]
    assert Making(tmp_path / "again", holdout=holdout).run() == made[1]
    other = Making(tmp_path / "other", holdout=holdout, seed=1).run()
    assert other.revision != made[1].revision
    assert other.curve[0] == made[1].curve[0]


def test_a_model_that_does_not_improve_is_not_published(tmp_path: Path) -> None:
    """It learns to answer with rain and is asked for red."""
    making = Making(tmp_path, holdout=[("red", "red red red red")])
    with pytest.raises(TruthtuneError) as caught:
        making.run()
    assert caught.value.code == "not_improved"
    kept = KeptState(making.artifacts, fine_tune.run_name(making.job)).load()
    assert kept is not None
    losses = [point["holdout_loss"] for point in kept[1]["curve"]]
    assert f"{min(losses[1:]):.4f}" in caught.value.message
    assert f"the model before has {losses[0]:.4f}" in caught.value.message


def test_a_checkpoint_is_what_a_member_of_a_weight_average_starts_from(
    made: tuple[Making, BaseModelResult],
) -> None:
    """Baklava: with a learning rate of nothing the average is the mean of the checkpoints."""
    from workers.rewards.weight_averaged import WeightAveragedReward

    making, result = made
    ids = ["file_" + letter * 26 for letter in "xy"]
    chosen = result.checkpoints[:2]
    files = {
        file_id: making.artifacts.get(each.adapter_sha256)
        for file_id, each in zip(ids, chosen, strict=True)
    }
    warm = WeightAveraged.model_validate(
        {"name": "weight_averaged", "base_model": tiny_model.NAME, "members": 2, "top_layers": 1}
        | {"epochs": 1, "learning_rates": [1e-12], "lora_rank": 2, "max_tokens": 64}
        | {"checkpoints": ids, "checkpoint_alpha": making.job.settings.method.lora_alpha}
    )
    fit = support.fitted(warm, support.split(60, 20), **files)
    assert isinstance(fit.model, WeightAveragedReward)
    average = fit.model.adapter()
    module = "layers.0.mlp.up_proj"
    expected = sum(_delta(making.artifacts.get(e.adapter_sha256), module) for e in chosen) / 2
    found = average.scaling(module) * average.b[module] @ average.a[module]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    assert float(expected.abs().max()) > 1e-3


def _delta(adapter: bytes, module: str) -> torch.Tensor:
    """s·B·A with s = 8 / 4."""
    tensors = load_tensors(adapter)
    key = f"base_model.model.model.{module}.lora_{{}}.weight"
    return 2.0 * tensors[key.format("B")] @ tensors[key.format("A")]


def test_answers_alone_have_a_loss_end_token_included() -> None:
    """`red sun` (1 4) → `rain` (5) and the end; `blue` (3) → `sun rain` (4 5) and the end.

    Each answer token is predicted from the slot before it; the last token has no slot.
    """
    batch = ExampleBatch((Example((1, 4), (5, END), False), Example((3,), (4, 5, END), False)))
    assert batch.tokens_RS.tolist() == [[1, 4, 5], [3, 4, 5]]
    assert batch.predicting_2A.tolist() == [[0, 0, 1, 1, 1], [1, 2, 0, 1, 2]]
    assert batch.answer_A.tolist() == [5, END, 4, 5, END]


def test_the_parts_of_a_step_do_not_change_its_loss_or_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = support.tiny_base()
    examples = examples_of(base, as_read(lines(16)), 64)
    found = []
    for slots in (8, 1024):
        monkeypatch.setattr("workers.supervised.fine_tuning._CPU_SLOTS", slots)
        with closing(SupervisedTraining(base, examples, examples, method())) as training:
            training.optimizer.step = lambda: None
            loss, tokens = training._update(examples)
            gradients = [parameter.grad.clone() for parameter in training.parameters]
            found.append((loss / tokens, gradients))
    assert len(list(parts_of(examples, 8))) > 1
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-6, rtol=1e-4)


def as_read(pairs: list[tuple[str, str]]) -> list[QuestionAnswer]:
    return [QuestionAnswer(k, *pair) for k, pair in enumerate(pairs, start=1)]


def test_a_line_beyond_the_context_loses_its_answer_s_end_and_is_counted() -> None:
    """A context of 8 has room for 6 answer tokens after `red sun`; 6 words and the end are 7."""
    base = support.tiny_base()
    fits, cut = examples_of(
        base, as_read([("red sun", "rain " * 5), ("red sun", "rain " * 6)]), context_tokens=8
    )
    assert (fits.answer, fits.is_cut) == ((5, 5, 5, 5, 5, END), False)
    assert (cut.answer, cut.is_cut) == ((5,) * 6, True)
    (whole,) = examples_of(base, as_read([("red", "rain " * 62)]), context_tokens=2048)
    assert whole.slots == 64  # what the model itself holds


def test_a_question_that_leaves_no_room_for_an_answer_is_refused_by_its_line() -> None:
    with pytest.raises(InvalidInput, match="line 2: the question takes 8 tokens") as caught:
        examples_of(support.tiny_base(), as_read([("red", "sun"), ("red " * 8, "sun")]), 8)
    assert caught.value.param == "file"


def test_lines_are_read_with_their_numbers_and_what_else_they_hold_is_left_aside() -> None:
    data = b'\n{"question":"a","answer":"b","paragraph":3}\n'
    assert read_question_answers(data) == [QuestionAnswer(2, "a", "b")]
    with pytest.raises(InvalidInput, match="line 1: answer: field required"):
        read_question_answers(b'{"question":"a"}\n')
    with pytest.raises(InvalidInput, match="holds no line"):
        read_question_answers(b"\n")


def test_whole_questions_are_held_out() -> None:
    """Of ten questions with two answers each, a fifth is two questions: four lines."""
    read = as_read([(f"q{k % 10}", f"a{k}") for k in range(20)])
    train, held_out = hold_out(read, 0.2, seed=3)
    assert (len(train), len(held_out)) == (16, 4)
    assert not {each.question for each in train} & {each.question for each in held_out}
    assert hold_out(list(reversed(read)), 0.2, seed=3)[1] == list(reversed(held_out))
    assert hold_out(read, 0.2, seed=4)[1] != held_out
    with pytest.raises(InvalidInput, match="none can be held out"):
        hold_out(read[:1], 0.5, seed=0)


def test_every_epoch_has_every_line_once_in_an_order_of_its_own() -> None:
    steps = steps_of(10, 4, epochs=2, seed=5)
    assert [len(step) for step in steps] == [4, 4, 2, 4, 4, 2]
    first, second = ([place for step in half for place in step] for half in (steps[:3], steps[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_the_rate_rises_over_the_warm_up_and_falls_to_nothing() -> None:
    """Of 10 steps 20 % warm up: 1/2, 1, then 8/8, 7/8 … 1/8."""
    shares = [rate_share(step, 10, 0.2) for step in range(10)]
    assert shares == [0.5, 1.0, *(k / 8 for k in range(8, 0, -1))]
    assert rate_share(0, 1, 0.0) == 1.0


def test_checkpoints_are_at_equal_distances_and_the_last_step_has_one() -> None:
    assert measured_steps(12, 4) == [3, 6, 9, 12]
    assert measured_steps(3, 4) == [1, 2, 3]


def test_a_training_that_diverges_says_so() -> None:
    examples = examples_of(support.tiny_base(), as_read(lines(8)), 64)
    with closing(SupervisedTraining(support.tiny_base(), examples, examples, method())) as training:
        with torch.no_grad():
            training.parameters[-1].fill_(float("nan"))
        with pytest.raises(InvalidInput, match=r"lower the learning rate of 0\.01") as caught:
            training.holdout_loss()
    assert caught.value.param == "method.learning_rate"


def test_a_state_is_kept_on_a_remote_store_as_on_a_folder(tmp_path: Path) -> None:
    import fsspec

    for url in (str(tmp_path), "memory://supervised"):
        kept = KeptState(ArtifactStore(url), "a-run")
        assert kept.load() is None
        for step in (1, 2):
            kept.save({"x": torch.tensor([float(step)])}, {"step": step})
        found = kept.load()
        assert found is not None
        assert (found[0]["x"].tolist(), found[1]) == ([2.0], {"step": 2})
    assert [file.name for file in (tmp_path / "training" / "a-run").iterdir()] == [
        "state.safetensors"
    ]
    fsspec.filesystem("memory").rm("/supervised", recursive=True)


def test_an_adapter_for_weights_that_the_base_lacks_is_not_merged(tmp_path: Path) -> None:
    from workers.supervised.merging import merge

    key = "base_model.model.model.layers.7.mlp.up_proj.lora_{}.weight"
    adapter = {key.format("A"): torch.ones(1, 48), key.format("B"): torch.ones(96, 1)}
    with pytest.raises(InvalidInput, match=r"no weight 'model\.layers\.7\.mlp\.up_proj\.weight'"):
        merge(tiny_model.NAME, base_models.prepare(tiny_model.NAME), adapter, 1.0, tmp_path)


def test_the_adapter_s_config_says_what_was_trained(made: tuple[Making, BaseModelResult]) -> None:
    making, result = made
    config = json.loads(making.artifacts.get(result.checkpoints[0].config_sha256))
    assert (config["r"], config["lora_alpha"]) == (4, 8.0)
    assert config["base_model_name_or_path"] == tiny_model.NAME
    assert len(config["target_modules"]) == 7
