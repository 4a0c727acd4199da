"""Bars of uploads and downloads: on a terminal alone, and never in what a program reads."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from api_schemas.errors import InvalidInput
from client import Truthtune
from client.downloads import DownloadProgress
from client.transfers import Transfers, WatchedFile

MIB = 2**20


def screen(**options: object) -> Console:
    return Console(file=io.StringIO(), width=100, **options)  # type: ignore[arg-type]


def terminal(monkeypatch: pytest.MonkeyPatch, term: str = "xterm") -> Console:
    monkeypatch.setenv("TERM", term)
    return screen(force_terminal=True)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def show(console: Console, visible: bool = True) -> str:
    with Transfers(console, visible) as transfers:
        transfers.show(DownloadProgress("adapter.safetensors", MIB, 4 * MIB))
        transfers._progress.refresh()
    return written(console)


def test_a_file_has_a_bar_with_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = show(terminal(monkeypatch))
    assert "adapter.safetensors" in shown
    assert "1.0/4.0 MiB" in shown


def test_without_a_terminal_and_for_programs_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert show(screen(force_terminal=False)).strip() == ""
    assert show(terminal(monkeypatch), visible=False).strip() == ""
    assert show(terminal(monkeypatch, "dumb")).strip() == ""


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    colour = "\x1b[3"
    assert colour in show(terminal(monkeypatch))
    monkeypatch.setenv("NO_COLOR", "1")
    assert colour not in show(terminal(monkeypatch))


def test_a_bar_stays_within_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), width=60, force_terminal=True)
    lines = [line for line in show(console).split("\n") if "adapter" in line]
    assert lines
    assert all(len(line.split("\r")[-1]) <= 60 + len("\x1b[2K") for line in lines)


def test_a_file_tells_how_far_it_was_read_and_starts_again_with_a_retry(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(b"x" * 10)
    told: list[tuple[int, int]] = []
    with WatchedFile(path, lambda *bytes_: told.append(bytes_)) as file:
        assert len(file.read(4)) == 4
        file.seek(0)
        assert file.read() == b"x" * 10
    assert told == [(4, 10), (10, 10)]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="absent can't be read: No such file"):
        WatchedFile(tmp_path / "absent", lambda *_: None)


def test_an_upload_moves_its_bar_to_the_end(
    group: Truthtune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "red sun"}\n' * 500)
    with Transfers(terminal(monkeypatch)) as transfers, transfers.opened(path) as stream:
        uploaded = group.files.upload_stream(stream, path.name, "prompts")
        (bar,) = transfers._progress.tasks
    assert (uploaded.lines, uploaded.bytes) == (500, path.stat().st_size)
    assert (bar.completed, bar.total) == (uploaded.bytes, uploaded.bytes)
