"""`truthtune key …`, `truthtune audit-log` and the resources behind them, against a real server."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from client_support import RunningService
from typer.testing import CliRunner

from api_schemas.errors import Conflict, Forbidden, NotAuthenticated, NotFound
from client import Truthtune, cli


@pytest.fixture
def run(service: RunningService) -> Any:
    """Runs the command as the operator; gives its JSON."""

    def run(*arguments: str) -> Any:
        options = ["--url", service.url, "--api-key", service.operator_key]
        done = CliRunner().invoke(cli.app, [*options, *arguments, "--json"])
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.stdout)

    return run


def test_a_groups_key_is_made_to_read_until_a_day_and_rotated(
    run: Any, service: RunningService, tmp_path: Path
) -> None:
    group_id = run("group", "create", str(tmp_path)[-100:])["id"]
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    made = run("group", "create-key", group_id, "--access", "read", "--expires-at", until)
    assert made["access"] == "read"
    assert datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC) < timedelta(days=1)
    with Truthtune(service.url, made["secret"]) as reader:
        assert reader.groups.get(group_id).id == group_id
        with pytest.raises(Forbidden) as refused:
            reader.keys.rotate(made["id"])
        assert refused.value.code == "read_only_key"
    successor = run("key", "rotate", made["id"], "--grace-seconds", "0")
    assert successor["secret"] != made["secret"]
    assert run("key", "show", made["id"])["successor_id"] == successor["id"]
    assert {successor["id"], made["id"]} <= {key["id"] for key in run("key", "list")}
    with Truthtune(service.url, made["secret"]) as late, pytest.raises(NotAuthenticated) as ended:
        late.groups.get(group_id)
    assert ended.value.code == "key_expired"
    assert run("key", "revoke", successor["id"])["revoked_at"] is not None


def test_a_group_rotates_the_key_it_asks_with(operator: Truthtune, service: RunningService) -> None:
    group_id = operator.groups.create(f"rotating at {datetime.now(UTC)}").id
    first = operator.groups.create_key(group_id)
    with Truthtune(service.url, first.secret) as group:
        second = group.keys.rotate(first.id)
        with pytest.raises(Conflict) as refused:
            group.keys.rotate(first.id)
    assert refused.value.code == "rotation_under_way"
    with Truthtune(service.url, second.secret) as group:
        assert group.groups.get(group_id).id == group_id


def test_an_operators_key_that_only_reads_is_made(run: Any, service: RunningService) -> None:
    made = run("key", "create", "--name", "dashboard", "--access", "read")
    assert (made["scope"], made["access"], made["name"]) == ("operator", "read", "dashboard")
    with Truthtune(service.url, made["secret"]) as reader:
        assert made["id"] in {key.id for key in reader.keys.list()}
        with pytest.raises(Forbidden):
            reader.groups.create("written by a reader")


def test_the_audit_log_is_read_in_whole_and_by_subject(run: Any, tmp_path: Path) -> None:
    group_id = run("group", "create", f"logged {tmp_path}"[-100:])["id"]
    (entry,) = run("audit-log", "--subject", group_id)
    assert entry["action"] == "group.created"
    assert entry in run("audit-log", "--action", "group.created")
    assert entry in run("audit-log")


def test_a_file_is_deleted(group: Truthtune, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "red sun"}\n')
    file = group.files.upload(prompts, "prompts")
    assert group.files.delete(file.id).deleted
    with pytest.raises(NotFound):
        group.files.get(file.id)


@pytest.mark.parametrize("until", ["tomorrow", "2031-01-01T12:00:00"])
def test_a_time_without_an_offset_is_refused_before_anything_is_asked(
    service: RunningService, until: str
) -> None:
    options = ["--url", service.url, "--api-key", service.operator_key]
    command = [*options, "group", "create-key", "grp_x", "--expires-at", until]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 1
    assert "--expires-at" in str(done.exception)
