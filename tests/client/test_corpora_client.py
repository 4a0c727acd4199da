"""Corpora, base models made on the service, and evaluations: in the client and on the command line,
over answers that a test scripts."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from client_support import Answer, Script
from rich.console import Console
from typer.testing import CliRunner

from api_schemas import corpus_examples as told
from api_schemas import examples
from api_schemas.corpora import Corpus, CorpusCreate, PromptHistory
from api_schemas.errors import Conflict, InvalidInput, NotFound
from api_schemas.evaluations import EvaluationCreate, EvaluationResult
from api_schemas.fine_tuned_models import BaseModelCreate
from api_schemas.language_models import Budget
from client import Truthtune, cli
from client.corpus_tables import evaluation_table, prompt_table
from client.downloads import DamagedDownload
from client.problems import JobFailed

CORPUS, BASE_MODEL, EVALUATION = told.CORPUS, told.BASE_MODEL, told.EVALUATION
UNFINISHED: dict[str, Any] = {"status": "queued", "result": None}
DATA = b'{"question": "Why?", "answer": "So."}\n'
SHA256 = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
EMPTY = f"sha256:{hashlib.sha256().hexdigest()}"


def answer(body: Any) -> Answer:
    return Answer(200, json.dumps(body).encode())


def ended(made: dict[str, Any], status: str = "succeeded") -> list[Answer]:
    """What a client asks that waits for a job: its stream, then the job."""
    event = examples.JOB_EVENT | {"sequence": 1, "type": f"job_{status}", "message": status}
    error = {"code": "budget_exhausted", "message": "used up"} if status == "failed" else None
    finished = {"id": made["job_id"], "status": status, "error": error}
    stream = Answer(200, f"data: {json.dumps(event)}\n\n".encode())
    return [stream, answer(examples.JOB | finished)]


def stored(data: bytes = DATA) -> list[Answer]:
    """What a download asks for: its first byte, for the length, then all of it."""
    told_length = {"Content-Range": f"bytes 0-0/{len(data)}"}
    return [Answer(206, data[:1], told_length), Answer(200, data)]


def with_result(made: dict[str, Any], **digests: Any) -> Answer:
    return answer(made | {"result": made["result"] | digests})


def shown(*parts: Any) -> str:
    console = Console(width=250, highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return captured.get()


def run(script: Script, *arguments: str | Path, status: int = 0) -> str:
    environment = {"TRUTHTUNE_URL": script.url, "TRUTHTUNE_API_KEY": "tt_op_test"}
    done = CliRunner().invoke(cli.app, [*map(str, arguments)], env=environment)
    assert done.exit_code == status, (done.output, done.exception)
    return done.output


def test_a_corpus_is_asked_for_waited_for_and_resumed(scripted: Truthtune, script: Script) -> None:
    script.answers = [answer(CORPUS | UNFINISHED), answer(CORPUS | UNFINISHED)]
    script.answers += [*ended(CORPUS), answer(CORPUS), answer(CORPUS | UNFINISHED)]
    made = scripted.corpora.create(CorpusCreate.model_validate(told.CORPUS_CREATE))
    assert scripted.corpora.wait(made.id) == Corpus.model_validate(CORPUS)
    assert script.asked[0].path == "/v1/corpora"
    assert json.loads(script.asked[0].body)["name"] == CORPUS["name"]
    assert script.asked[0].headers["idempotency-key"]
    scripted.corpora.resume(made.id, Budget(max_tokens=10))
    assert script.asked[-1].path == f"/v1/corpora/{made.id}/resume"
    assert json.loads(script.asked[-1].body)["budget"]["max_tokens"] == 10


def test_waiting_for_a_corpus_whose_budget_is_used_up_tells_so(
    scripted: Truthtune, script: Script
) -> None:
    script.answers = [answer(CORPUS | UNFINISHED), *ended(CORPUS, "failed")]
    with pytest.raises(JobFailed, match="used up") as failed:
        scripted.corpora.wait(CORPUS["id"])
    assert failed.value.code == "budget_exhausted"


@pytest.mark.parametrize("part", ["lines", "holdout", "calls"])
def test_a_download_is_checked_against_the_corpuss_record(
    scripted: Truthtune, script: Script, tmp_path: Path, part: str
) -> None:
    download = getattr(scripted.corpora, f"download_{part}")
    script.answers = [with_result(CORPUS, **{f"{part}_sha256": SHA256}), *stored()]
    assert download(CORPUS["id"], tmp_path / "lines.jsonl").read_bytes() == DATA
    assert script.asked[-1].path == f"/v1/corpora/{CORPUS['id']}/{part}"
    script.answers = [with_result(CORPUS, **{f"{part}_sha256": SHA256}), *stored(DATA[::-1])]
    with pytest.raises(DamagedDownload):
        download(CORPUS["id"], tmp_path / "other.jsonl")
    script.answers = [answer(CORPUS | UNFINISHED)]
    with pytest.raises(Conflict, match="is queued"):
        download(CORPUS["id"], tmp_path / "early.jsonl")


def test_calls_of_no_judge_are_an_empty_file(
    scripted: Truthtune, script: Script, tmp_path: Path
) -> None:
    script.answers = [with_result(EVALUATION, calls_sha256=EMPTY), Answer(200, b"")]
    written = scripted.evaluations.download_calls(EVALUATION["id"], tmp_path / "calls.jsonl")
    assert written.read_bytes() == b""
    assert script.asked[-1].path == f"/v1/evaluations/{EVALUATION['id']}/calls"


def test_a_checkpoint_is_downloaded_as_a_peft_folder(
    scripted: Truthtune, script: Script, tmp_path: Path
) -> None:
    (checkpoint,) = BASE_MODEL["result"]["checkpoints"]
    kept = [checkpoint | {"adapter_sha256": SHA256, "config_sha256": SHA256}]
    script.answers = [with_result(BASE_MODEL, checkpoints=kept), *stored(), *stored()]
    folder = scripted.base_models.download_checkpoint(BASE_MODEL["id"], tmp_path / "adapter")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors"]
    at = f"/v1/base-models/{BASE_MODEL['id']}/checkpoints/6"
    assert script.asked[-1].path == f"{at}/adapter_config.json"
    script.answers = [with_result(BASE_MODEL, checkpoints=kept)]
    with pytest.raises(NotFound, match="step 7; kept are 6"):
        scripted.base_models.download_checkpoint(BASE_MODEL["id"], tmp_path, 7)


def test_a_base_model_and_an_evaluation_are_asked_for_and_waited_for(
    scripted: Truthtune, script: Script
) -> None:
    script.answers = [answer(BASE_MODEL | UNFINISHED), answer(BASE_MODEL | UNFINISHED)]
    script.answers += [*ended(BASE_MODEL), answer(BASE_MODEL)]
    base = scripted.base_models.create(BaseModelCreate.model_validate(told.BASE_MODEL_CREATE))
    assert scripted.base_models.wait(base.id).result is not None
    script.answers = [answer(EVALUATION | UNFINISHED), answer(EVALUATION | UNFINISHED)]
    script.answers += [*ended(EVALUATION), answer(EVALUATION)]
    made = scripted.evaluations.create(EvaluationCreate.model_validate(told.EVALUATION_CREATE))
    assert scripted.evaluations.wait(made.id).result is not None
    posts = [each.path for each in script.asked if each.method == "POST"]
    assert posts == ["/v1/base-models", "/v1/evaluations"]


def test_the_running_service_answers_all_three(operator: Truthtune, tmp_path: Path) -> None:
    document = tmp_path / "rain.md"
    document.write_text("# Rain\n\nRain falls from clouds.\n")
    uploaded = operator.files.upload(document, "document")
    local = {"type": "local", "base_model": "tiny-enumerable"}
    asked = {"name": "Rain", "generators": [local], "teacher": local}
    settings = CorpusCreate.model_validate(asked | {"document_file_ids": [uploaded.id]})
    corpus = operator.corpora.create(settings)
    assert operator.corpora.get(corpus.id) in list(operator.corpora.list())
    operator.jobs.cancel(corpus.job_id)
    assert operator.corpora.resume(corpus.id, Budget(max_tokens=7)).settings.budget.max_tokens == 7
    with pytest.raises(Conflict):
        operator.corpora.history(corpus.id)
    body = {"name": "Rain", "base_model": "tiny-enumerable", "corpus_id": corpus.id}
    with pytest.raises(Conflict):
        operator.base_models.create(BaseModelCreate.model_validate(body))
    with pytest.raises(NotFound):
        operator.evaluations.get("evl_" + "0" * 26)


SETTINGS = """
name = "Rain"
document_file_ids = ["{0}"]
generators = [{{type = "local", base_model = "tiny-enumerable"}}]
teacher = {{type = "local", base_model = "tiny-enumerable"}}

[prompt_optimization]
pairs_file_id = "{0}"
judge = {{type = "local", base_model = "tiny-enumerable"}}
"""


def test_the_command_uploads_documents_and_pairs_and_shows_the_questions(
    script: Script, tmp_path: Path
) -> None:
    named = "file_" + "1" * 26
    settings, document = tmp_path / "settings.toml", tmp_path / "rain.md"
    settings.write_text(SETTINGS.format("file_" + "9" * 26))
    document.write_text("Rain falls.")
    file = examples.FILE | {"id": named, "purpose": "document", "validation": None}
    script.answers = [answer(file), answer(CORPUS | UNFINISHED), *ended(CORPUS), answer(CORPUS)]
    pairs = "file_" + "2" * 26
    told_lines = run(script, "corpus", "create", settings, "--document", document, "--pairs", pairs)
    assert b'name="purpose"\r\n\r\ndocument' in script.asked[0].body
    sent = json.loads(script.asked[1].body)
    assert sent["document_file_ids"] == [named]
    assert sent["prompt_optimization"]["pairs_file_id"] == pairs
    lines = [" ".join(line.split()) for line in told_lines.splitlines()]
    assert "0 14 68 0 6 62" in lines
    assert "spent 212 calls (0 replayed), 81400 + 24920 tokens, 0.070190 USD" in lines


def test_settings_that_cannot_be_taken_are_refused_before_anything_is_uploaded(
    script: Script, tmp_path: Path
) -> None:
    settings, document = tmp_path / "settings.json", tmp_path / "rain.md"
    document.write_text("Rain falls.")
    environment = {"TRUTHTUNE_URL": script.url, "TRUTHTUNE_API_KEY": "tt_op_test"}
    wrong = [
        ({"name": "Rain"}, ("--document", str(document)), "generators"),
        (told.CORPUS_CREATE | {"prompt_optimization": None}, ("--pairs", "p.jsonl"), "judge"),
        ([], (), "holds no object"),
    ]
    for value, options, said in wrong:
        settings.write_text(json.dumps(value))
        command = ["corpus", "create", str(settings), *options]
        done = CliRunner().invoke(cli.app, command, env=environment)
        assert isinstance(done.exception, InvalidInput), (done.output, done.exception)
        assert said in done.exception.message
    assert script.asked == []


def test_a_corpus_is_resumed_with_the_part_of_its_budget_that_is_given(script: Script) -> None:
    script.answers = [answer(CORPUS), answer(CORPUS | UNFINISHED)]
    run(script, "corpus", "resume", CORPUS["id"], "--max-tokens", "9000000", "--no-wait")
    sent = json.loads(script.asked[-1].body)
    assert sent == {"budget": {"max_tokens": 9_000_000, "max_cost_micro_units": 5_000_000}}


def test_an_evaluation_is_resumed_with_the_part_of_its_budget_that_is_given(script: Script) -> None:
    script.answers = [answer(EVALUATION), answer(EVALUATION | UNFINISHED)]
    run(script, "evaluation", "resume", EVALUATION["id"], "--max-tokens", "9000000", "--no-wait")
    assert script.asked[-1].path == f"/v1/evaluations/{EVALUATION['id']}/resume"
    sent = json.loads(script.asked[-1].body)
    assert sent == {"budget": EVALUATION["settings"]["budget"] | {"max_tokens": 9_000_000}}


def test_base_models_and_evaluations_are_made_from_options_alone(script: Script) -> None:
    corpus = CORPUS["id"]
    script.answers = [answer(BASE_MODEL | UNFINISHED), *ended(BASE_MODEL), answer(BASE_MODEL)]
    made = run(script, "base-model", "create", "--name", "Rain", "--corpus", corpus)
    assert json.loads(script.asked[0].body)["corpus_id"] == corpus
    lines = [" ".join(line.split()) for line in made.splitlines()]
    assert "6* 2.1200 1.8700" in lines
    script.answers = [answer(EVALUATION | UNFINISHED)]
    models = ("--base-model", "tiny-enumerable", "--tuned", "mdl_" + "0" * 26)
    named = ("--name", "Rain", "--corpus", corpus)
    run(script, "evaluation", "create", *named, *models, "--no-wait")
    sent = json.loads(script.asked[-1].body)
    assert [model["type"] for model in sent["models"]] == ["base_model", "tuned"]
    assert sent["corpus_id"] == corpus


def test_the_lists_tell_lines_losses_and_questions(script: Script) -> None:
    page = {"object": "list", "has_more": False, "first_id": None, "last_id": None}
    expected = {
        "corpus": (CORPUS, ["55", "7", "106320"]),
        "base-model": (BASE_MODEL, ["2.3100 → 1.8700"]),
        "evaluation": (EVALUATION, [BASE_MODEL["id"], "7"]),
    }
    for command, (item, figures) in expected.items():
        script.answers = [answer(page | {"data": [item]})]
        listed = run(script, command, "list")
        assert all(figure in listed for figure in (item["id"], *figures)), listed


def test_the_best_prompt_is_marked_and_scored_by_judge_and_length() -> None:
    table = shown(prompt_table(PromptHistory.model_validate(told.PROMPT_HISTORY)))
    (row,) = [line.split() for line in table.splitlines() if "announced" in line]
    assert row[:6] == ["0*", "announced", "0", "7.000", "7.500", "0.500"]


def test_an_evaluation_without_a_judge_shows_no_scores_of_one() -> None:
    (row,) = EVALUATION["result"]["rows"]
    unjudged = row | {"judge_score": None, "comprehensive": None}
    result = EvaluationResult.model_validate(EVALUATION["result"] | {"rows": [row, unjudged]})
    lines = [line.split() for line in shown(evaluation_table(result)).splitlines()]
    judged, plain = [line for line in lines if line and line[0] == BASE_MODEL["id"]]
    shares = ["31.2", "18.4", "11.9", "8.1", "14.6", "38.0", "15.2", "29.7"]
    assert judged[1:] == [*shares, "6.40", "0.20", "6.20"]
    assert plain[1:] == [*shares, "-", "0.20", "-"]
