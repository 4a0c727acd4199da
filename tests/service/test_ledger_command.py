"""`truthtune ledger verify` on a database: one line for each fault, and the exit status."""

from pathlib import Path

import pytest
from click.testing import Result
from ledger_scenes import fill_ledger, past_the_guards
from sqlalchemy import update
from typer.testing import CliRunner

from service.cli import app
from service.database import Database
from service.signing import public_keys
from service.tables import InvoiceRow, PostingRow


@pytest.fixture
def filled(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setenv("TRUTHTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRUTHTUNE_DATABASE_URL", database.url.render_as_string(False))
    fill_ledger(database)
    return database


def verify(*options: str) -> Result:
    return CliRunner().invoke(app, ["ledger", "verify", *options])


def test_a_whole_ledger_gives_its_head_which_the_next_time_asks_for(filled: Database) -> None:
    first = verify()
    assert (first.exit_code, first.stdout.count("\n")) == (0, 1)
    counts, head, faults = (
        first.stdout.strip().replace("; head ", "|", 1).replace(": no", "|no").split("|")
    )
    assert counts == "19 entries and 12 invoices"
    assert faults == "no faults"
    with filled.read() as session:
        keys = [f"--public-key={key}" for key in public_keys(session).values()]
    assert verify("--head", head, *keys).exit_code == 0
    missed = verify("--head", head.replace("19:", "20:"))
    assert missed.exit_code == 1
    assert missed.stdout.startswith("head 20: the ledger ends at 19, but had this head before\n")
    unpinned = verify("--public-key", "A" * 43 + "=")
    assert unpinned.exit_code == 1
    assert "whose public key is none of those given" in unpinned.stdout


def test_each_fault_is_a_line_that_names_its_row(filled: Database) -> None:
    with past_the_guards(filled) as session:
        posting, invoice = session.query(PostingRow).first(), session.query(InvoiceRow).first()
        assert posting is not None
        assert invoice is not None
        row = (InvoiceRow.id == invoice.id, posting.entry_key, invoice.id)
        session.execute(update(InvoiceRow).where(row[0]).values(currency="USD"))
        where = PostingRow.id == posting.id
        session.execute(update(PostingRow).where(where).values(amount_micro_units=1))
        session.commit()
    done = verify()
    assert done.exit_code == 1
    *faults, last = done.stdout.strip().splitlines()
    assert any(row[1] in fault and "its hash is not that" in fault for fault in faults)
    assert any(fault.startswith(f"invoice {row[2]}: ") and "USD" in fault for fault in faults)
    assert last.endswith(f": {len(faults)} faults")


@pytest.mark.parametrize("option", ["--head=x", "--public-key=x"])
def test_a_malformed_option_is_refused_before_the_ledger_is_read(
    filled: Database, option: str
) -> None:
    refused = verify(option)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "'x' is not" in refused.stderr
