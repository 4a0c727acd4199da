"""`truthtune round pool`: checked bytes, also over a connection that breaks off."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from client_support import Answer, Script

from api_schemas.examples import OUTCOME
from client import Truthtune
from client.downloads import DamagedDownload
from client.problems import RequestFailed

POOL = bytes(range(256)) * 8
DIGEST = f"sha256:{hashlib.sha256(POOL).hexdigest()}"
ROUND_ID = OUTCOME["round_id"]
OUTCOME_ANSWER = Answer(body=json.dumps(copy.deepcopy(OUTCOME) | {"pool_digest": DIGEST}).encode())
FIRST_BYTE = Answer(206, POOL[:1], {"Content-Range": f"bytes 0-0/{len(POOL)}"})


def part(start: int, stop: int, **more: Any) -> Answer:
    return Answer(
        206, POOL[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/2048"}, **more
    )


def test_a_pool_lands_under_its_name_once_it_is_whole(
    script: Script, scripted: Truthtune, tmp_path: Path
) -> None:
    script.answers = [OUTCOME_ANSWER, FIRST_BYTE, Answer(body=POOL)]
    target = scripted.rounds.download_pool(ROUND_ID, tmp_path / "new" / "pool")
    assert target.read_bytes() == POOL
    assert [asked.path for asked in script.asked[1:]] == [f"/v1/rounds/{ROUND_ID}/pool"] * 2
    assert list(target.parent.iterdir()) == [target]


def test_a_download_that_broke_off_goes_on_from_where_it_was(
    script: Script, scripted: Truthtune, tmp_path: Path
) -> None:
    broken = Answer(body=POOL[:1000], promised=len(POOL))
    script.answers = [OUTCOME_ANSWER, FIRST_BYTE, broken, part(1000, 2048)]
    target = scripted.rounds.download_pool(ROUND_ID, tmp_path / "pool")
    assert target.read_bytes() == POOL
    assert script.asked[-1].headers["range"] == "bytes=1000-"
    assert script.asked[-1].headers["if-range"] == f'"{DIGEST}"'


def test_other_bytes_than_the_outcomes_are_refused_and_removed(
    script: Script, scripted: Truthtune, tmp_path: Path
) -> None:
    script.answers = [OUTCOME_ANSWER, FIRST_BYTE, Answer(body=POOL[::-1])]
    with pytest.raises(DamagedDownload, match=DIGEST):
        scripted.rounds.download_pool(ROUND_ID, tmp_path / "pool")
    assert list(tmp_path.iterdir()) == []


def test_a_pool_that_is_there_already_is_not_fetched_again(
    script: Script, scripted: Truthtune, tmp_path: Path
) -> None:
    (tmp_path / "pool").write_bytes(POOL)
    script.answers = [OUTCOME_ANSWER, FIRST_BYTE]
    scripted.rounds.download_pool(ROUND_ID, tmp_path / "pool")
    assert script.answers == []


def test_a_service_that_answers_no_range_is_named(
    script: Script, scripted: Truthtune, tmp_path: Path
) -> None:
    script.answers = [OUTCOME_ANSWER, Answer(body=POOL)]
    with pytest.raises(RequestFailed, match="length"):
        scripted.rounds.download_pool(ROUND_ID, tmp_path / "pool")
