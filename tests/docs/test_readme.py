"""The README alone takes a first-time user to a receipt, and its commands work as they stand."""

import io
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from first_service import running_service, shell
from pages import ROOT, Block, blocks, runnable

README = (ROOT / "README.md").read_text()
TARGETS = (
    "setup",
    "demo",
    "demo-corpus",
    "serve",
    "test",
    "test-slow",
    "lint",
    "bench",
    "docs",
    "incentives",
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What `make serve` runs, and the variables that the README tells its readers to set."""
    with running_service(tmp_path_factory.mktemp("readme"), {}) as variables:
        yield variables


def test_the_two_commands_come_first_and_are_targets_of_make() -> None:
    assert blocks("README.md")[0].text == "make demo\nmake test\n"


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_the_target(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_readme_names_no_target_that_make_does_not_know() -> None:
    named = re.findall(r"(?:^|`)make ([a-z-]+)(?:`|$)", README, re.MULTILINE)
    assert set(named) == set(TARGETS)


def test_every_link_leads_to_a_file_and_every_anchor_to_a_heading() -> None:
    links = [target for target in _LINK.findall(README) if "://" not in target]
    assert len(links) > 10
    for target in links:
        name, _, anchor = target.partition("#")
        assert (ROOT / (name or "README.md")).exists(), target
        if anchor:
            assert anchor in _anchors((ROOT / (name or "README.md")).read_text()), target


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("## Does lying pay?", "does-lying-pay"),
        ("### `closed_form`, and [others](x.md)", "closed_form-and-others"),
        ("# A & B", "a--b"),
    ],
)
def test_anchors_are_made_as_where_the_readme_is_read(heading: str, anchor: str) -> None:
    assert _anchors(f"{heading}\ntext\n```sh\n# a comment\n```\n") == {anchor}


def _anchors(page: str) -> set[str]:
    """By GitHub's rule: small letters, no punctuation, a hyphen for each space."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", page), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def test_a_first_time_user_reaches_a_receipt_with_the_readme_alone(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every block in order: commands in a shell, Python in one interpreter, as a reader would."""
    for name in ("TRUTHTUNE_URL", "TRUTHTUNE_API_KEY"):
        monkeypatch.setenv(name, environment[name])
    (tmp_path / "client").symlink_to(ROOT / "client")  # the examples' files are named from the root
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed = {block.name[1]: _run(block, environment, tmp_path, names) for block in _reader()}

    verified = printed["truthtune signing-key list --json > keys.json"]
    assert verified.endswith("no check failed\n")
    assert "amount: checked" in verified
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    assert printed["job_id = operator.rounds.close(round_.id).job_id"].endswith(
        "the round is settled\n"
    )


def _reader() -> list[Block]:
    """Without what the reader's machine lacks."""
    found = runnable("README.md")
    assert len(found) >= 9
    return [block for block in found if "curl " not in block.text or shutil.which("curl")]


def _run(block: Block, environment: dict[str, str], folder: Path, names: dict[str, object]) -> str:
    if block.language == "sh":
        return shell(block.text, environment, folder)
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(block.text, "README.md", "exec"), names)
    return printed.getvalue()
