"""Every command that only looks prints JSON: against a real service, and what takes a settlement
against scripted answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from client_support import Answer, RunningService, Script
from test_every_command import COMMANDS
from typer.testing import CliRunner

from api_schemas import corpus_examples, examples
from api_schemas.reports import ReportPut
from api_schemas.reward_models import PreferenceDataSpec
from api_schemas.rounds import RoundCreate
from client import Truthtune, cli

LOOKING = {"list", "show", "messages", "payments", "credit-notes", "outcome", "certificate"}
"""The last words of commands that change nothing and wait for nothing."""

BY_OPERATOR = (
    "audit-log",
    "base-model list",
    "corpus list",
    "db check",
    "evaluation list",
    "group list",
    "invoice list",
    "job list",
    "job show job_id",
    "key list",
    "key show key_id",
    "ledger verify",
    "model list",
    "receipt list",
    "round list",
    "round show round_id",
    "signing-key list",
)
BY_GROUP = (
    "file list",
    "file show file_id",
    "report show round_id",
    "reward-model list",
    "reward-model show reward_model_id",
    "webhook list",
    "webhook messages endpoint_id",
    "webhook show endpoint_id",
)
"""With the names of ids for arguments."""

MAY_BE_EMPTY = (
    "base-model list",
    "corpus list",
    "evaluation list",
    "invoice list",
    "model list",
    "receipt list",
    "signing-key list",
)
"""Without a settlement, or a coordinator, there is none, unless another module made some."""

LISTED = {"first_id": None, "last_id": None, "has_more": False, "object": "list"}
SCRIPTED: dict[str, dict[str, Any]] = {
    "base-model show": corpus_examples.BASE_MODEL,
    "corpus history": corpus_examples.PROMPT_HISTORY,
    "corpus show": corpus_examples.CORPUS,
    "evaluation show": corpus_examples.EVALUATION,
    "invoice credit-notes": LISTED | {"data": [examples.CREDIT_NOTE]},
    "invoice payments": LISTED | {"data": [examples.PAYMENT]},
    "invoice show": examples.INVOICE,
    "receipt show": examples.RECEIPT,
    "round certificate": examples.CERTIFICATE,
    "round outcome": examples.OUTCOME,
}
"""What the service says of things that come with a settlement, or another job's end."""


def printed(url: str, key: str, *arguments: str, **variables: str) -> Any:
    environment = {"TRUTHTUNE_URL": url, "TRUTHTUNE_API_KEY": key} | variables
    done = CliRunner().invoke(cli.app, [*arguments, "--json"], env=environment)
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def ids(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of one thing of each kind, and the secret of the group that has them."""
    folder = tmp_path_factory.mktemp("scene")
    with Truthtune(service.url, service.operator_key) as operator:
        group_id = operator.groups.create("printed as JSON").id
        key = operator.groups.create_key(group_id)
        prompts = _written(folder / "prompts.jsonl", [{"prompt": "red sun"}])
        file_id = operator.files.upload(prompts, "prompts").id
        changes = {"base_model": "tiny-enumerable", "prompts_file_id": file_id, "closes_at": None}
        rules = examples.ANNOUNCEMENT | changes
        asked = {name: rules[name] for name in RoundCreate.model_fields if name in rules}
        round_ = operator.rounds.create(RoundCreate.model_validate(asked))
        operator.rounds.open(round_.id)
        with Truthtune(service.url, key.secret) as group:
            own = _of_the_group(group, folder)
            group.rounds.put_report(round_.id, ReportPut.model_validate(_REPORT))
        job_id = str(operator.rounds.close(round_.id).job_id)
    return own | {"secret": key.secret, "key_id": key.id, "round_id": round_.id, "job_id": job_id}


_REPORT = {
    "size": 2,
    "reward_model": {"type": "lexical", "features": [{"type": "keywords", "words": ["red"]}]},
}


def _of_the_group(group: Truthtune, folder: Path) -> dict[str, str]:
    pairs = [{"prompt": f"red {n}", "chosen": "sun", "rejected": "rain"} for n in range(10)]
    file_id = group.files.upload(_written(folder / "pairs.jsonl", pairs), "preferences").id
    method = {"name": "tfidf_bradley_terry"}
    spec = {"type": "preference_data", "file_id": file_id, "method": method}
    made = group.reward_models.create("words", PreferenceDataSpec.model_validate(spec))
    endpoint_id = group.webhook_endpoints.create("https://teachers.example/hook").id
    return {"file_id": file_id, "reward_model_id": made.id, "endpoint_id": endpoint_id}


def _written(path: Path, lines: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_every_command_that_looks_is_among_them() -> None:
    asked = {" ".join(line.split()[:2]) for line in (*BY_OPERATOR, *BY_GROUP)} | set(SCRIPTED)
    assert asked >= {name for name in COMMANDS if name.split()[-1] in LOOKING}
    assert asked <= set(COMMANDS)


@pytest.mark.parametrize("line", [*BY_OPERATOR, *BY_GROUP])
def test_what_a_service_has_is_printed_as_json(
    service: RunningService, ids: dict[str, str], line: str
) -> None:
    key = ids["secret"] if line in BY_GROUP else service.operator_key
    database = service.database.url.render_as_string(hide_password=False)
    words = [ids.get(word, word) for word in line.split()]
    found = printed(service.url, key, *words, TRUTHTUNE_DATABASE_URL=database)
    if line.split()[-1] in ids and words[1] == "show":
        assert words[-1] in found.values()
    elif line not in ("db check", "ledger verify"):
        assert isinstance(found, list)
        assert found or line in MAY_BE_EMPTY


@pytest.mark.parametrize("command", SCRIPTED)
def test_what_comes_with_a_settlement_is_printed_as_json(script: Script, command: str) -> None:
    told = SCRIPTED[command]
    script.answers = [Answer(200, json.dumps(told).encode())]
    found = printed(script.url, "tt_op_test", *command.split(), "an-id")
    assert found == told.get("data", told)
