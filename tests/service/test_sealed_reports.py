"""Reports at rest: encrypted, committed to, and opened after the close by an audited act alone."""

import base64
import json
import random
from typing import Any

import pytest
from scenes import claim, queue_job
from sqlalchemy import select, text, update
from starlette.testclient import TestClient
from support import VAULT, MakeGroup, OpenRound, report_body

import migrations
from api_schemas.commitments import commitment, merkle_root
from service.database import Database
from service.dependencies import AppState
from service.reports.repository import job_inputs
from service.tables import AuditRow, Base, JobRow, ReportRow, RoundRow
from service.vault import DamagedSeal, Vault

SECRET = "xylophone"


@pytest.fixture
def opened(open_round: OpenRound) -> dict[str, Any]:
    return open_round()


def report(group: TestClient, round_id: str, **changes: Any) -> dict[str, Any]:
    answer = group.put(f"/v1/rounds/{round_id}/report", json=report_body(**changes))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_no_table_holds_a_word_of_a_report_or_its_size_before_or_after_the_close(
    operator: TestClient, make_group: MakeGroup, opened: dict[str, Any], state: AppState
) -> None:
    _, teachers = make_group("teachers")
    report(teachers, opened["id"], word=SECRET)
    before = _everything(state.database)
    operator.post(f"/v1/rounds/{opened['id']}/close")
    for dumped in (before, _everything(state.database)):
        assert b"keywords" not in dumped
        assert SECRET.encode() not in dumped


def test_the_commitment_is_to_the_report_the_round_the_group_and_the_salt(
    make_group: MakeGroup, opened: dict[str, Any]
) -> None:
    group_id, teachers = make_group("teachers")
    made = report(teachers, opened["id"])
    own = {name: made[name] for name in ("size", "reward_model")}
    salt = base64.b64decode(made["salt"])
    assert len(salt) == 32
    assert made["commitment"] == commitment(opened["id"], group_id, salt, own)
    assert teachers.get(f"/v1/rounds/{opened['id']}/report").json() == made


def test_the_root_of_all_commitments_is_shown_from_the_close_on(
    operator: TestClient, make_group: MakeGroup, opened: dict[str, Any], state: AppState
) -> None:
    groups = [make_group(name)[1] for name in ("teachers", "pupils", "parents")]
    made = [report(group, opened["id"]) for group in groups]
    url = f"/v1/rounds/{opened['id']}"
    assert operator.get(url).json()["commitment_root"] is None
    closed = operator.post(f"{url}/close").json()
    assert closed["commitment_root"] == merkle_root([each["commitment"] for each in made])
    assert groups[0].get(url).json()["commitment_root"] == closed["commitment_root"]
    with state.database.read() as session:
        assert session.scalars(select(JobRow.status)).all() == ["queued"], "before any training"


@pytest.mark.parametrize("act", ["draft", "open", "cancelled"])
def test_reports_of_a_round_that_was_not_closed_stay_sealed(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound, state: AppState, act: str
) -> None:
    opened = open_round()
    _, teachers = make_group("teachers")
    report(teachers, opened["id"])
    if act == "cancelled":
        operator.post(f"/v1/rounds/{opened['id']}/cancel")
    elif act == "draft":
        with state.database.write() as session:
            session.execute(update(RoundRow).values(state="draft"))
    answer = operator.post(f"/v1/rounds/{opened['id']}/reports/unseal", json={"reason": "why"})
    assert answer.status_code == 409
    assert answer.json()["code"] == "reports_sealed"
    assert _acts(state) == []


def test_unsealing_shows_the_reports_and_leaves_who_when_and_why(
    operator: TestClient, make_group: MakeGroup, opened: dict[str, Any], state: AppState
) -> None:
    _, teachers = make_group("teachers")
    _, pupils = make_group("pupils")
    made = [report(group, opened["id"], size=n) for n, group in ((2, teachers), (3, pupils))]
    operator.post(f"/v1/rounds/{opened['id']}/close")
    url = f"/v1/rounds/{opened['id']}/report"
    assert teachers.get(url).json()["unsealed_at"] is None
    assert teachers.post(f"{url}s/unseal", json={"reason": "curious"}).status_code == 403
    assert operator.post(f"{url}s/unseal", json={}).status_code == 422
    answer = operator.post(f"{url}s/unseal", json={"reason": "a dispute"}).json()
    assert [each["size"] for each in answer["reports"]] == [2, 3]
    assert [each["commitment"] for each in answer["reports"]] == [e["commitment"] for e in made]
    assert _acts(state) == [(opened["id"], "a dispute")]
    assert teachers.get(url).json()["unsealed_at"] is not None


@pytest.mark.parametrize("reason", ["", "two\nlines", "x" * 1001])
def test_a_reason_that_says_nothing_unseals_nothing(
    operator: TestClient, opened: dict[str, Any], state: AppState, reason: str
) -> None:
    answer = operator.post(f"/v1/rounds/{opened['id']}/reports/unseal", json={"reason": reason})
    assert answer.status_code == 422
    assert answer.json()["param"] == "reason"


def test_every_flipped_bit_of_a_sealed_report_is_noticed() -> None:
    sealed = VAULT.seal(b'{"size": 7}', "report", "round", "group")
    rng = random.Random(0)
    bits = range(8 * len(sealed)) if len(sealed) < 125 else rng.sample(range(8 * len(sealed)), 1000)
    for bit in bits:
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedSeal):
            VAULT.open(bytes(changed), "report", "round", "group")


@pytest.mark.parametrize("context", [("report", "round", "other"), ("report", "roundgroup"), ()])
def test_what_was_sealed_for_one_group_opens_for_no_other(context: tuple[str, ...]) -> None:
    sealed = VAULT.seal(b"data", "report", "round", "group")
    with pytest.raises(DamagedSeal):
        VAULT.open(sealed, *context)
    with pytest.raises(DamagedSeal, match="TRUTHTUNE_SEAL_KEY"):
        Vault(b"k" * 32).open(sealed, "report", "round", "group")


@pytest.mark.parametrize("harm", ["exchange", "remove", "older", "root"])
def test_reports_changed_behind_the_service_end_the_job_by_name(
    database: Database, harm: str
) -> None:
    job_id = queue_job(database)
    with database.write() as session:
        _harm(session, harm)
    with pytest.raises(AssertionError):
        claim(database)
    with database.read() as session:
        job = session.get_one(JobRow, job_id)
        assert job.status == "failed"
        assert job.error is not None
        assert job.error["code"] == "damaged_seal"


def _harm(session: Any, harm: str) -> None:
    first, second, *_ = session.scalars(select(ReportRow).order_by(ReportRow.group_id))
    if harm == "exchange":
        first.sealed, second.sealed = second.sealed, first.sealed
    elif harm == "remove":
        session.delete(first)
    elif harm == "older":  # another report of the same group, sealed by whoever has the key
        content = json.loads(VAULT.open(first.sealed, "report", first.round_id, first.group_id))
        content["report"]["size"] = 9
        data = json.dumps(content).encode()
        first.sealed = VAULT.seal(data, "report", first.round_id, first.group_id)
    else:
        session.execute(update(RoundRow).values(commitment_root="sha256:" + "0" * 64))


def test_plain_reports_are_sealed_by_the_migration_and_opened_by_its_way_back(
    database: Database,
) -> None:
    job_id = queue_job(database)
    with database.read() as session:
        round_id = session.scalars(select(RoundRow.id)).one()
        before = job_inputs(session, VAULT, round_id)
    migrations.downgrade(database, "0003", VAULT)
    with database.read() as session:
        stored = json.loads(session.scalar(text("SELECT CAST(input AS TEXT) FROM jobs")))
    assert [each["size"] for each in stored["reports"]] == [1, 2, 3]
    with pytest.raises(Exception, match="seal key"):
        migrations.upgrade(database)
    migrations.upgrade(database, vault=VAULT)
    with database.read() as session:
        assert job_inputs(session, VAULT, round_id) == before
        assert "reports" not in session.get_one(JobRow, job_id).input
    claim(database)


def _acts(state: AppState) -> list[tuple[str, str | None]]:
    with state.database.read() as session:
        found = select(AuditRow).where(AuditRow.action == "reports.unsealed")
        return [(row.subject, row.reason) for row in session.scalars(found)]


def _everything(database: Database) -> bytes:
    """All rows of all tables, as they lie there."""
    dumped = []
    with database.read() as session:
        for table in Base.metadata.sorted_tables:
            rows = session.connection().exec_driver_sql(f"SELECT * FROM {table.name}")
            dumped += [repr(tuple(map(_plain, row))).encode() for row in rows]
    assert dumped
    return b"\n".join(dumped)


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value
