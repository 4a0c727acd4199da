"""The demo itself, on the tiny model, and what it ships."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from api_schemas.corpora import CorpusCreate
from api_schemas.datasets import PreferenceLine, PromptLine, QuestionAnswerLine, parse_jsonl
from api_schemas.evaluations import EvaluationCreate
from api_schemas.fine_tuned_models import BaseModelCreate
from api_schemas.rounds import RoundCreate
from client.demo import textbook
from client.demo.service_process import DemoService, ServiceFailed
from client.demo.settings import SMOLLM2, TINY, DemoRound

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("setup", [SMOLLM2, TINY])
def test_what_the_demo_announces_is_a_round_and_its_groups_fit_it(setup: DemoRound) -> None:
    announced = RoundCreate.model_validate(
        {"base_model": "any", "prompts_file_id": "file_" + "0" * 26} | setup.announcement
    )
    assert announced.counterfactuals == "retrain"
    assert all(group.size <= announced.max_group_size for group in setup.groups)
    assert [group.size for group in setup.groups] == [3, 7, 5]
    prompts = {line.prompt for line in parse_jsonl(setup.prompts.open("rb"), PromptLine)}
    assert set(setup.compared_prompts) <= prompts


def test_the_prompts_are_24_different_ones() -> None:
    prompts = [line.prompt for line in parse_jsonl(SMOLLM2.prompts.open("rb"), PromptLine)]
    assert len(prompts) == len(set(prompts)) == 24


def test_the_preferences_are_200_different_pairs_over_20_prompts() -> None:
    pairs = parse_jsonl(SMOLLM2.preferences.open("rb"), PreferenceLine)
    assert len({(pair.chosen, pair.rejected) for pair in pairs}) == len(pairs) >= 200
    assert len({pair.prompt for pair in pairs}) >= 20
    chosen, rejected = {pair.chosen for pair in pairs}, {pair.rejected for pair in pairs}
    assert chosen.isdisjoint(rejected)


def test_what_the_textbooks_demo_asks_for_is_valid_and_its_texts_are_there() -> None:
    file_id, corpus_id = "file_" + "0" * 26, "corp_" + "0" * 26
    optimization = textbook.OPTIMIZATION | {"pairs_file_id": file_id}
    CorpusCreate.model_validate(
        textbook.CORPUS | {"document_file_ids": [file_id], "prompt_optimization": optimization}
    )
    BaseModelCreate.model_validate(
        {"name": "any", "corpus_id": corpus_id, "method": textbook.FINE_TUNING}
    )
    models = [{"type": "base_model", "base_model": textbook.BASE_MODEL}]
    EvaluationCreate.model_validate(
        textbook.EVALUATION | {"models": models, "corpus_id": corpus_id}
    )
    RoundCreate.model_validate({"base_model": "any", "prompts_file_id": file_id} | textbook.ROUND)
    assert textbook.TEXTBOOK.read_text().startswith("# ")
    pairs = parse_jsonl(textbook.PAIRS.open("rb"), QuestionAnswerLine)
    assert len(pairs) >= textbook.OPTIMIZATION["pairs"]


def test_a_service_that_cannot_start_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    service = DemoService(tmp_path)
    (tmp_path / "truthtune.db").write_text("this is no database, and long enough to be read as one")
    with pytest.raises(ServiceFailed, match="file is not a database"), service:
        pass


def test_a_failing_command_of_the_service_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match="base_model 'absent' is unknown"):
        DemoService(tmp_path).run("base-model", "prepare", "absent")


def test_the_whole_business_runs_once_on_the_tiny_model(tmp_path: Path) -> None:
    """Real server and coordinator processes, a real local Ray, every stage, a download."""
    command = [sys.executable, "-m", "client.demo", "--base-model", "tiny-enumerable"]
    done = subprocess.run(
        [*command, "--home", str(tmp_path / "home")],
        cwd=ROOT,
        env=os.environ | {"TRUTHTUNE_URL": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every check on 3 groups, 4 worlds, 3 invoices and their receipts holds" in done.stdout
    assert "every step held" in done.stdout
    names = {path.name for path in (tmp_path / "home" / "adapter").iterdir()}
    assert names >= {"adapter_config.json", "adapter_model.safetensors"}
    assert not any(name.endswith(".partial") for name in names)
