"""What `truthtune doctor` finds of secrets and the database, each broken for real and mended again,
and the command itself. Its other checks: test_doctor_machine.py."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from doctor_scenes import assert_ok, assert_wrong, changed, in_session, local_installation
from scenes import claim, let_leases_expire, queue_job
from sqlalchemy import update
from support import SEAL_KEY, VAULT
from typer.testing import CliRunner
from webhook_scenes import own_endpoint, tell

import migrations
import service.database
from api_schemas.ids import new_id
from service import signing
from service.auth import hmac_of, load_key_secret, new_secret
from service.cli import app
from service.database import Database, database_now
from service.doctor import compute, data, secrets
from service.doctor.examination import examine
from service.doctor.findings import Installation, Verdict
from service.groups import repository as keys
from service.settings import Settings
from service.tables import JobRow, WebhookMessageRow

OTHER_SEAL_KEY = "A" * 43 + "="
HOUR = timedelta(hours=1)


@pytest.fixture
def subject(settings: Settings, database: Database) -> Installation:
    settings.home.mkdir()
    return Installation(settings, database)


@pytest.fixture
def local(tmp_path: Path) -> Installation:
    return local_installation(tmp_path)


def add_operator_key(subject: Installation, ends: datetime | None = None, **more: str) -> str:
    secret = new_secret("operator")
    hashed = hmac_of(secret, load_key_secret(subject.settings))
    with subject.database.write() as session:
        made = keys.add_key(
            session, "operator", None, "", hashed, database_now(session), expires_at=ends, **more
        )
    return f"{made.id} {secret}"


@pytest.mark.parametrize("name", ["key_secret", "seal_key"])
def test_a_secrets_file_must_be_its_owners_alone_and_hold_something(
    local: Installation, name: str
) -> None:
    check = getattr(secrets, name)
    assert_ok(check(local))
    assert not (local.settings.home / name).exists(), "looking must not make one"
    file = local.settings.home / name
    file.write_text(SEAL_KEY)
    file.chmod(0o644)
    assert_wrong(check(local), str(file), f"chmod 600 {file}")
    file.chmod(0o600)
    assert_ok(check(local))
    file.write_text("")
    assert_wrong(check(local), "is empty", "from a backup")


def test_a_seal_key_that_is_none_is_wrong(local: Installation) -> None:
    found = secrets.seal_key(changed(local, seal_key="not base 64"))
    assert_wrong(found, "32 bytes in base 64")
    assert "not base 64" not in found.message


def test_a_seal_key_is_tried_on_what_is_sealed(subject: Installation) -> None:
    assert_ok(in_session(secrets.sealed, subject))
    with subject.database.write() as session:
        signing.sign(session, VAULT, {"any": "thing"})
    assert_ok(in_session(secrets.sealed, subject))
    other = changed(subject, seal_key=OTHER_SEAL_KEY)
    assert_wrong(in_session(secrets.sealed, other), "another one", "from a backup")
    missing = changed(subject, seal_key=None)
    assert_wrong(in_session(secrets.sealed, missing), "missing", "seal_key")
    assert list(subject.settings.home.iterdir()) == [], "looking must not make one"


def test_the_operator_needs_a_key_that_works(subject: Installation) -> None:
    make = "truthtune key create-operator"
    assert_wrong(in_session(secrets.operator_key, subject), make)
    now = datetime.now(UTC)
    add_operator_key(subject, now - HOUR)
    add_operator_key(subject, access="read")
    assert_wrong(in_session(secrets.operator_key, subject), make)
    add_operator_key(subject, now + HOUR)
    assert_wrong(in_session(secrets.operator_key, subject), "ends at", make, status="warning")
    add_operator_key(subject)
    assert_ok(in_session(secrets.operator_key, subject))
    lost = changed(subject, key_secret=None)
    assert_wrong(in_session(secrets.operator_key, lost), "key secret is missing", "from a backup")


def test_the_clients_key_must_be_known_to_this_database(
    subject: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRUTHTUNE_API_KEY", raising=False)
    assert_ok(in_session(secrets.api_key, subject))
    monkeypatch.setenv("TRUTHTUNE_API_KEY", "tt_op_of_another_service")
    found = in_session(secrets.api_key, subject)
    assert_wrong(found, "doesn't know", "truthtune key create-operator")
    assert "of_another_service" not in found.message
    monkeypatch.setenv("TRUTHTUNE_API_KEY", add_operator_key(subject).split()[1])
    assert_ok(in_session(secrets.api_key, subject))


def test_a_database_that_is_away_is_named_without_its_password(local: Installation) -> None:
    assert_wrong(data.database(local), "no database yet", "truthtune db upgrade")
    assert not (local.settings.home / "truthtune.db").exists(), "looking must not make one"
    away = "postgresql+psycopg://me:a-password@127.0.0.1:1/none"
    found = data.database(Installation(local.settings, Database(away)))
    assert_wrong(found, "does not answer", "pg_isready -h 127.0.0.1 -p 1")
    assert "a-password" not in found.message + str(found.remedy)


def test_a_damaged_file_is_no_database(local: Installation) -> None:
    file = local.settings.home / "truthtune.db"
    file.write_bytes(b"no database, whatever the name says" * 100)
    assert_wrong(data.database(local), "not a database", "integrity_check")


def test_a_schema_of_another_version_is_wrong(subject: Installation) -> None:
    assert_ok(data.database(subject))
    assert_ok(data.schema(subject))
    _set_revision(subject, "0001")
    assert_wrong(data.schema(subject), "0001", "truthtune db upgrade")
    _set_revision(subject, "9999")
    assert_wrong(data.schema(subject), "9999", "pip install --upgrade truthtune")


def _set_revision(subject: Installation, revision: str) -> None:
    with subject.database.write() as session:
        session.connection().exec_driver_sql(
            f"UPDATE alembic_version SET version_num = '{revision}'"
        )


def test_clocks_that_differ_are_told(subject: Installation) -> None:
    assert_ok(data.clock(subject))

    class Late(Installation):
        def machine_now(self) -> datetime:
            return super().machine_now() - timedelta(minutes=3)

    late = Late(subject.settings, subject.database)
    assert_wrong(data.clock(late), "180.", "timedatectl", status="warning")


def test_a_job_that_nobody_takes_is_told_and_one_behind_another_is_not(
    subject: Installation,
) -> None:
    assert_ok(in_session(data.jobs, subject))
    queue_job(subject.database)
    assert_ok(in_session(data.jobs, subject))
    waiting = _old_job(subject, owner_id="operator")
    assert_wrong(in_session(data.jobs, subject), waiting, "truthtune up", status="warning")
    claim(subject.database)
    assert_ok(in_session(data.jobs, subject))
    let_leases_expire(subject.database)
    assert_wrong(in_session(data.jobs, subject), waiting, status="warning")


def test_a_groups_reward_models_are_not_told_of(subject: Installation) -> None:
    _old_job(subject, owner_id="grp_" + "0" * 26)
    assert_ok(in_session(data.jobs, subject))


def _old_job(subject: Installation, owner_id: str) -> str:
    with subject.database.write() as session:
        row = JobRow(
            id=new_id("job"),
            kind="reward_model",
            owner_id=owner_id,
            status="queued",
            input={},
            created_at=database_now(session) - HOUR,
        )
        session.add(row)
    return row.id


def test_messages_that_nobody_delivers_are_told(subject: Installation) -> None:
    own_endpoint(subject.database, "https://example.org/hook")
    tell(subject.database)
    assert_ok(in_session(data.webhooks, subject))
    with subject.database.write() as session:
        due = database_now(session) - HOUR
        session.execute(update(WebhookMessageRow).values(next_attempt_at=due))
    assert_wrong(in_session(data.webhooks, subject), "truthtune up", status="warning")


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ray", "gpu"):
        monkeypatch.setattr(compute, name, lambda _: Verdict("ok", ""))
    monkeypatch.setattr(migrations, "head_revision", lambda: 1 / 0)
    free = settings.model_copy(update={"port": 0})
    found = {each.check: each.verdict for each in examine(free)}
    assert_wrong(found["schema"], "ZeroDivisionError")
    assert found["operator_key"].status == "skipped"
    assert_ok(found["port"])


def test_doctor_tells_all_and_exits_with_1_until_what_it_names_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("TRUTHTUNE_HOME", str(home))
    monkeypatch.setenv("TRUTHTUNE_PORT", "0")
    monkeypatch.setenv("TRUTHTUNE_BASE_MODELS", "tiny-enumerable")
    monkeypatch.setenv("TRUTHTUNE_REWARD_BASE_MODELS", "tiny-enumerable")
    monkeypatch.setattr(compute, "_RAY", "print('of another test')")
    before = CliRunner().invoke(app, ["doctor"])
    assert before.exit_code == 1
    assert "wrong   database" in before.stdout
    assert "→ truthtune db upgrade" in before.stdout
    assert not home.exists()
    assert CliRunner().invoke(app, ["db", "upgrade"]).exit_code == 0
    assert CliRunner().invoke(app, ["key", "create-operator", "--name", "a"]).exit_code == 0
    after = CliRunner().invoke(app, ["doctor", "--json"])
    told = json.loads(after.stdout)
    wrong = [each for each in told["findings"] if each["status"] == "wrong"]
    assert (after.exit_code, wrong, told["healthy"]) == (0, [], True)
    assert len(told["findings"]) == len(before.stdout.splitlines())


def test_settings_that_cannot_be_read_are_a_finding_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUTHTUNE_PORT", "many")
    found = CliRunner().invoke(app, ["doctor", "--json"])
    assert found.exit_code == 1
    (finding,) = json.loads(found.stdout)["findings"]
    assert "TRUTHTUNE_PORT" in finding["message"]


def test_a_locked_database_is_told(local: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    file = local.settings.home / "truthtune.db"
    engine_of = service.database.create_engine

    def impatient(url: str, **options: object) -> object:
        return engine_of(url, **options | {"connect_args": {"timeout": 0.01}})

    monkeypatch.setattr(service.database, "create_engine", impatient)
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE any_table (id)")
        other.execute("BEGIN EXCLUSIVE")
        subject = Installation(local.settings, Database(local.settings.resolved_database_url))
        assert_wrong(data.database(subject), "locked", f"fuser {file}")
