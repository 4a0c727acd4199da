"""Downloads that are killed, cancelled, or continued from what was there."""

import asyncio
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from client_support import Answer, Hold, RunningService, Script

from api_schemas import examples
from api_schemas.errors import InvalidInput
from client import AsyncTruthtune, Truthtune
from client.downloads import DamagedDownload, DownloadProgress

ROOT = Path(__file__).parents[2]
DATA = bytes(range(256)) * 800
FIRST = 1000
"""Bytes that come before a download ends: fewer than a file's buffer holds back."""
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
MODEL_ID = examples.MODEL["id"]
NAME = "adapter_model.safetensors"
MODEL = Answer(
    200,
    json.dumps(
        examples.MODEL | {"files": [{"name": NAME, "bytes": len(DATA), "sha256": DIGEST}]}
    ).encode(),
)
# Downloads until the first bytes are told to be there, says so, and stays in that moment.
KILLED = f"""
import sys, threading
from client import Truthtune

def stay(progress):
    if progress.done_bytes >= {FIRST}:
        print("here", flush=True)
        threading.Event().wait()

Truthtune(sys.argv[1], "tt_op_test").models.download("{MODEL_ID}", sys.argv[2], stay)
"""

Download = Callable[[Script, Path], list[DownloadProgress]]


def synchronously(script: Script, folder: Path) -> list[DownloadProgress]:
    told: list[DownloadProgress] = []
    with Truthtune(script.url, "tt_op_test") as client:
        client.models.download(MODEL_ID, folder, told.append)
    return told


def asynchronously(script: Script, folder: Path) -> list[DownloadProgress]:
    told: list[DownloadProgress] = []

    async def main() -> None:
        async with AsyncTruthtune(script.url, "tt_op_test") as client:
            await client.models.download(MODEL_ID, folder, told.append)

    asyncio.run(main())
    return told


both = pytest.mark.parametrize("download", [synchronously, asynchronously])


def rest(start: int, data: bytes = DATA) -> Answer:
    span = f"bytes {start}-{len(data) - 1}/{len(data)}"
    return Answer(206, data[start:], {"Content-Range": span})


def test_a_process_killed_in_the_middle_leaves_what_another_goes_on_from(
    script: Script, tmp_path: Path
) -> None:
    hold = Hold()
    script.answers = [MODEL, Answer(200, DATA[:FIRST], promised=len(DATA), hold=hold)]
    program = [sys.executable, "-c", KILLED, script.url, str(tmp_path)]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGKILL)
    hold.release.set()
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}.partial"]

    script.answers = [MODEL, rest(FIRST)]
    told = asynchronously(script, tmp_path)
    assert (tmp_path / NAME).read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert script.asked[-1].headers["range"] == f"bytes={FIRST}-"
    assert script.asked[-1].headers["if-range"] == f'"{DIGEST}"'
    assert told[0] == DownloadProgress(NAME, FIRST, len(DATA))


def test_a_cancelled_download_is_continued_too(script: Script, tmp_path: Path) -> None:
    hold = Hold()
    script.answers = [MODEL, Answer(200, DATA[:FIRST], promised=len(DATA), hold=hold)]

    async def main() -> None:
        begun = asyncio.Event()
        async with AsyncTruthtune(script.url, "tt_op_test") as client:
            task = asyncio.create_task(
                client.models.download(
                    MODEL_ID,
                    tmp_path,
                    lambda told: begun.set() if told.done_bytes == FIRST else None,
                )
            )
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    hold.release.set()
    script.answers = [MODEL, rest(FIRST)]
    synchronously(script, tmp_path)
    assert (tmp_path / NAME).read_bytes() == DATA


@both
def test_progress_counts_on_from_what_is_there_to_the_whole_file(
    script: Script, tmp_path: Path, download: Download
) -> None:
    (tmp_path / f"{NAME}.partial").write_bytes(DATA[:1000])
    script.answers = [MODEL, rest(1000)]
    counts = [progress.done_bytes for progress in download(script, tmp_path)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (1000, len(DATA))
    assert len(counts) > 2, "the parts of a large file are told one by one"
    script.answers = [MODEL]
    assert download(script, tmp_path) == [DownloadProgress(NAME, len(DATA), len(DATA))]


@both
@pytest.mark.parametrize("length", [1000, len(DATA)])
def test_what_went_on_from_bytes_of_another_file_is_fetched_anew(
    script: Script, tmp_path: Path, download: Download, length: int
) -> None:
    """The service can't tell: it sent the rest of the right file. The sha256 over all of it can."""
    (tmp_path / f"{NAME}.partial").write_bytes(bytes(length))
    continued = [rest(length)] if length < len(DATA) else []
    script.answers = [MODEL, *continued, Answer(200, DATA)]
    download(script, tmp_path)
    assert (tmp_path / NAME).read_bytes() == DATA
    assert "range" not in script.asked[-1].headers
    assert script.answers == []


@both
def test_a_partial_file_longer_than_the_whole_is_not_continued(
    script: Script, tmp_path: Path, download: Download
) -> None:
    (tmp_path / f"{NAME}.partial").write_bytes(DATA + b"!")
    script.answers = [MODEL, Answer(200, DATA)]
    download(script, tmp_path)
    assert (tmp_path / NAME).read_bytes() == DATA
    assert "range" not in script.asked[-1].headers, "no byte is there to be asked for"


@both
def test_a_file_that_changed_on_the_service_is_damaged_and_not_kept(
    script: Script, tmp_path: Path, download: Download
) -> None:
    (tmp_path / NAME).write_bytes(b"from before")
    (tmp_path / f"{NAME}.partial").write_bytes(DATA[:1000])
    changed = Answer(200, DATA[::-1])
    script.answers = [MODEL, changed, changed]
    with pytest.raises(DamagedDownload, match=DIGEST):
        download(script, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {NAME: b"from before"}


@both
def test_where_nothing_can_be_written_the_path_is_named(
    script: Script, tmp_path: Path, download: Download
) -> None:
    (tmp_path / f"{NAME}.partial").mkdir()
    script.answers = [MODEL, Answer(200, DATA)]
    with pytest.raises(InvalidInput, match=rf"{NAME}\.partial can't be written: Is a directory"):
        download(script, tmp_path)


def test_an_error_of_the_callback_is_the_callers_own_and_loses_no_bytes(
    script: Script, tmp_path: Path
) -> None:
    def stop(progress: DownloadProgress) -> None:
        if progress.done_bytes:
            raise BrokenPipeError("nobody watches")

    script.answers = [MODEL, Answer(200, DATA)]
    with Truthtune(script.url, "tt_op_test") as client, pytest.raises(BrokenPipeError):
        client.models.download(MODEL_ID, tmp_path, stop)
    kept = (tmp_path / f"{NAME}.partial").read_bytes()
    assert kept == DATA[: len(kept)]
    assert len(kept) > 0


def test_a_file_of_the_real_service_is_continued_and_checked(
    service: RunningService, operator: Truthtune, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(f'{{"prompt": "red sun {number}"}}\n' for number in range(2000)))
    data = prompts.read_bytes()
    file = operator.files.upload(prompts, "prompts")
    told: list[DownloadProgress] = []
    (tmp_path / "sync.partial").write_bytes(data[:20_000])
    target = operator.files.download(file.id, tmp_path / "sync", told.append)
    assert target.read_bytes() == data
    assert told[0].done_bytes == 20_000

    async def main() -> None:
        (tmp_path / "async.partial").write_bytes(data[:20_000])
        async with AsyncTruthtune(service.url, service.operator_key) as client:
            target = await client.files.download(file.id, tmp_path / "async")
        assert target.read_bytes() == data

    asyncio.run(main())
