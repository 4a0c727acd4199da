"""The migrations make exactly the tables of the code, and guard what must not change."""

from threading import Thread

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from migration_scenes import NOW, event_row, job_row
from sqlalchemy import Engine, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

import migrations
from api_schemas.ids import new_id
from service.database import Database
from service.tables import (
    APPEND_ONLY_TABLES,
    AuditRow,
    Base,
    CreditNoteRow,
    GroupRow,
    IncentiveAuditRow,
    InvoicePaymentRow,
    InvoiceRow,
    JobEventRow,
    JobRow,
    JobStageRow,
    LedgerEntryRow,
    OutcomeRow,
    PostingRow,
    ReceiptRow,
    RoundRow,
)


def test_the_migrated_schema_is_the_one_of_the_tables(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Base.metadata) == []
    migrations.require_current_schema(database)


def test_constraints_have_the_names_of_the_tables(database: Database) -> None:
    found = inspect(database.engine)
    for table in Base.metadata.sorted_tables:
        names = {check["name"] for check in found.get_check_constraints(table.name)}
        expected = {
            str(constraint.name)
            for constraint in table.constraints
            if str(constraint.name).startswith("ck_")
        }
        assert names == expected


def test_a_downgrade_leaves_nothing_and_can_be_undone(database: Database) -> None:
    migrations.downgrade(database, "base")
    assert _tables(database.engine) == {"alembic_version"}
    assert migrations.current_revision(database) is None
    migrations.upgrade(database)
    migrations.require_current_schema(database)


def test_upgrading_twice_changes_nothing(database: Database) -> None:
    migrations.upgrade(database)
    migrations.require_current_schema(database)


def test_upgrades_at_the_same_time_end_with_one_schema(
    database: Database, database_url: str
) -> None:
    migrations.downgrade(database, "base")
    failures: list[Exception] = []

    def upgrade() -> None:
        own = Database(database_url)  # as in another process: no lock is shared
        try:
            migrations.upgrade(own)
        except Exception as error:
            failures.append(error)
        finally:
            own.dispose()

    # Alembic's environment is a module global: one upgrade a process. So the others are simulated
    # by running one after another has committed, which is what the lock makes of them.
    for thread in [Thread(target=upgrade) for _ in range(3)]:
        thread.start()
        thread.join()
    assert failures == []
    migrations.require_current_schema(database)


@pytest.mark.parametrize("table", APPEND_ONLY_TABLES)
@pytest.mark.parametrize("change", ["UPDATE {} SET created_at = NULL", "DELETE FROM {}"])
def test_an_append_only_row_can_be_neither_changed_nor_deleted(
    database: Database, table: str, change: str
) -> None:
    _fill(database)
    with pytest.raises(DBAPIError, match=f"{table} is append-only"), database.write() as session:
        session.execute(text(change.format(table)))
    with database.read() as session:
        assert session.scalar(text(f"SELECT count(*) FROM {table}")) == 1


def test_postgresql_refuses_to_truncate_what_is_append_only(database: Database) -> None:
    if database.is_sqlite:
        return  # SQLite has no TRUNCATE
    for table in APPEND_ONLY_TABLES:
        with (
            pytest.raises(DBAPIError, match=f"{table} is append-only"),
            database.write() as session,
        ):
            session.execute(text(f"TRUNCATE {table}"))


def test_every_table_that_the_code_calls_append_only_is_guarded(database: Database) -> None:
    query = (
        "SELECT DISTINCT tbl_name FROM sqlite_master WHERE type = 'trigger'"
        if database.is_sqlite
        else "SELECT DISTINCT event_object_table FROM information_schema.triggers"
    )
    with database.read() as session:
        assert set(session.scalars(text(query))) == set(APPEND_ONLY_TABLES)


def test_jobs_of_the_first_version_stay_with_their_stages_and_events(database: Database) -> None:
    migrations.downgrade(database, "0001")
    _insert_first_version(database)
    migrations.upgrade(database)
    with database.read() as session:
        job = session.scalars(select(JobRow)).one()
        assert (job.id, job.kind, job.round_id, job.status) == (JOB, "round", ROUND, "succeeded")
        assert (job.attempts, job.fencing_token, job.cancel_requested) == (2, 3, True)
        assert (job.input, job.error, job.created_at) == ({"a": [1]}, None, NOW)
        assert session.get_one(JobStageRow, (JOB, "score")).digest == "sha256:0"
        assert session.scalars(select(JobEventRow.job_id)).all() == [JOB]
        assert session.get_one(OutcomeRow, ROUND).code_version is None
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(text("DELETE FROM jobs"))  # the foreign keys of its rows still hold


def test_a_round_has_one_job_of_its_own_and_any_number_of_audits(database: Database) -> None:
    _fill(database)
    with database.write() as session:
        round_id = session.scalars(select(JobRow.round_id)).one()
        session.add_all(job_row("audit", round_id) for _ in range(2))
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(job_row("round", round_id))


def test_a_downgrade_takes_audits_with_it_and_leaves_the_rounds_jobs(database: Database) -> None:
    _fill(database)
    with database.write() as session:
        own = session.scalars(select(JobRow)).one()
        audit = job_row("audit", own.round_id)
        session.add(audit)
        session.flush()
        session.add(JobStageRow(job_id=audit.id, stage="replay", started_at=NOW))
        session.add(event_row(audit.id))
        session.add(
            IncentiveAuditRow(
                id=new_id("aud"),
                round_id=own.round_id,
                job_id=audit.id,
                settings={},
                created_at=NOW,
            )
        )
    migrations.downgrade(database, "0001")
    with database.read() as session:
        assert session.scalars(text("SELECT id FROM jobs")).all() == [own.id]
        assert session.scalars(text("SELECT job_id FROM job_events")).all() == [own.id]
        assert session.scalars(text("SELECT job_id FROM job_stages")).all() == []
    with pytest.raises(DBAPIError, match="append-only"), database.write() as session:
        session.execute(text("DELETE FROM job_events"))
    migrations.upgrade(database)
    migrations.require_current_schema(database)


ROUND, JOB = "rnd_" + "0" * 26, "job_" + "0" * 26


def _insert_first_version(database: Database) -> None:
    """A settled round, its job, a stage, an event and an outcome, as the first version has them."""
    at = f"'{NOW:%Y-%m-%d %H:%M:%S}.000000'" if database.is_sqlite else f"'{NOW.isoformat()}'"
    flag = "1" if database.is_sqlite else "true"
    with database.write() as session:
        for statement in (
            "INSERT INTO rounds (id, state, announcement, announcement_digest, created_at) "
            f"VALUES ('{ROUND}', 'settled', '{{}}', '', {at})",
            "INSERT INTO jobs (id, round_id, status, input, attempts, cancel_requested, "
            f"fencing_token, created_at) VALUES ('{JOB}', '{ROUND}', 'succeeded', "
            f"'{{\"a\": [1]}}', 2, {flag}, 3, {at})",
            "INSERT INTO job_stages (job_id, stage, started_at, digest) "
            f"VALUES ('{JOB}', 'score', {at}, 'sha256:0')",
            "INSERT INTO job_events (id, job_id, sequence, type, level, message, data, created_at) "
            f"VALUES ('evt_1', '{JOB}', 1, 'job_queued', 'info', '', '{{}}', {at})",
            "INSERT INTO outcomes (round_id, payload, digest, created_at) "
            f"VALUES ('{ROUND}', '{{}}', '', {at})",
        ):
            session.connection().exec_driver_sql(statement)


def _fill(database: Database) -> None:
    """One row in every append-only table, and the rows they point to."""
    group = GroupRow(id=new_id("grp"), name="teachers", created_at=NOW)
    round_ = RoundRow(
        id=new_id("rnd"), state="open", announcement={}, announcement_digest="", created_at=NOW
    )
    job = job_row("round", round_.id)
    invoice = InvoiceRow(
        id=new_id("inv"),
        number=1,
        round_id=round_.id,
        group_id=group.id,
        status="open",
        amount_micro_units=1,
        currency="EUR",
        created_at=NOW,
    )
    event = event_row(job.id)
    posting = PostingRow(
        id=new_id("pst"),
        entry_key="invoice",
        account="revenue",
        amount_micro_units=1,
        currency="EUR",
        invoice_id=invoice.id,
        created_at=NOW,
    )
    logged = AuditRow(id=new_id("log"), actor="a", action="b", subject="c", created_at=NOW)
    money = {"invoice_id": invoice.id, "amount_micro_units": 1, "created_at": NOW}
    payment = InvoicePaymentRow(id=new_id("pay"), reference="", **money)
    note = CreditNoteRow(id=new_id("cn"), number=1, reason="", **money)
    entry = LedgerEntryRow(
        sequence=1,
        entry_key="invoice",
        kind="",
        invoice_id=invoice.id,
        created_at=NOW,
        previous_hash="",
        hash="",
    )
    receipt = ReceiptRow(
        id=new_id("rcpt"),
        invoice_id=invoice.id,
        group_id=group.id,
        body={},
        body_digest="",
        created_at=NOW,
    )
    appended = [event, posting, logged, payment, note, entry, receipt]
    with database.write() as session:
        for rows in ([group, round_], [job, invoice], appended):
            session.add_all(rows)
            session.flush()


def _tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())
