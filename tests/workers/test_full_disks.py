"""A machine's full disk is nobody's bad report: it must not exclude a group from its round."""

import errno
from collections.abc import Callable
from typing import Any

import pytest
from conftest import TinyRound

import workers.artifacts
from api_schemas.errors import NotFound, StorageFull
from workers.rewards.lexical import LexicalReward

MakeRound = Callable[..., TinyRound]


def _no_room(*_: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_artifact_store_fails_the_fit_of_reports_and_excludes_nobody(
    tiny_round: MakeRound, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny_round()
    monkeypatch.setattr(workers.artifacts.os, "fsync", _no_room)
    with pytest.raises(StorageFull):
        made.run("fit_rewards")
    monkeypatch.undo()
    made.run("fit_rewards")
    assert made.artifacts.get_json(made.digests["fit_rewards"])["excluded"] == {}


def test_a_full_disk_met_in_the_fit_itself_excludes_nobody(
    tiny_round: MakeRound, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny_round()
    monkeypatch.setattr(LexicalReward, "build", _no_room)
    with pytest.raises(StorageFull):
        made.run("fit_rewards")


def test_an_artifact_that_is_gone_excludes_nobody(
    tiny_round: MakeRound, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny_round()

    def gone(*_: Any) -> Any:
        return made.artifacts.get(workers.artifacts.sha256_of(b"never stored"))

    monkeypatch.setattr(LexicalReward, "build", gone)
    with pytest.raises(NotFound, match="is not in the store"):
        made.run("fit_rewards")
