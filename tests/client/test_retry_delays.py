"""How long a client waits before it asks again."""

import asyncio
import json
import time

import httpx
import pytest
from client_support import Answer, Script

from api_schemas import examples
from client import AsyncTruthtune, Truthtune, retries
from client.retries import backoff, delay_before_retry

LONG_AGO = "Sun, 06 Nov 1994 08:49:37 GMT"
FIRST_DELAY_SECONDS = 0.5


@pytest.fixture(autouse=True)
def _delays(_no_backoff: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are outside of tests."""
    monkeypatch.setattr(retries, "_FIRST_DELAY_SECONDS", FIRST_DELAY_SECONDS)


def delay(status: int = 503, safe: bool = True, attempt: int = 0, **headers: str) -> float | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return delay_before_retry(httpx.Response(status, headers=named), safe, attempt)


def is_a_backoff(seconds: float | None) -> bool:
    return seconds is not None and 0.5 * FIRST_DELAY_SECONDS <= seconds <= FIRST_DELAY_SECONDS


@pytest.mark.parametrize(
    "date",
    ["Sun, 06 Nov 1994 08:49:44 GMT", "Sunday, 06-Nov-94 08:49:44 GMT", "Sun Nov  6 08:49:44 1994"],
)
def test_a_date_to_retry_after_counts_from_the_answers_own_date(date: str) -> None:
    """The three forms of RFC 9110; 44 − 37 = 7 seconds, though the clock here is decades on."""
    assert delay(Date=LONG_AGO, Retry_After=date) == 7.0


def test_a_date_that_has_passed_is_no_wait_at_all() -> None:
    assert delay(Date=LONG_AGO, Retry_After="Sun, 06 Nov 1994 08:00:00 GMT") == 0.0


def test_a_date_more_than_a_minute_on_is_not_waited_for() -> None:
    assert delay(Date=LONG_AGO, Retry_After="Sun, 06 Nov 1994 08:50:37 GMT") == 60.0
    assert delay(Date=LONG_AGO, Retry_After="Sun, 06 Nov 1994 08:50:38 GMT") is None


@pytest.mark.parametrize("asked", ["soon", "-3", "1.5", "²", "Sun, 99 Nov 1994 08:49:37 GMT"])
def test_what_cannot_be_read_is_as_if_nothing_was_asked(asked: str) -> None:
    response = httpx.Response(503, headers={"Date": LONG_AGO, "Retry-After": asked.encode()})
    assert is_a_backoff(delay_before_retry(response, True, 0))


def test_a_date_without_one_to_compare_it_with_is_as_if_nothing_was_asked() -> None:
    assert is_a_backoff(delay(Retry_After=LONG_AGO))


def test_a_wait_that_was_asked_for_does_not_make_a_request_safe_to_repeat() -> None:
    assert delay(503, safe=False, Retry_After="1") is None
    assert delay(429, safe=False, Retry_After="1") == 1.0
    assert delay(503, safe=False, Retry_After="1", x_should_retry="true") == 1.0
    assert delay(429, safe=True, Retry_After="1", x_should_retry="false") is None


def test_delays_double_up_to_eight_seconds_and_their_upper_half_is_chance() -> None:
    for attempt, longest in enumerate([0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]):
        found = [backoff(attempt) for _ in range(200)]
        assert all(longest / 2 <= seconds <= longest for seconds in found)
        # 200 draws all in one half of that range would have a chance of 2 in 2²⁰⁰.
        assert min(found) < 0.75 * longest < max(found)


BUSY = [
    Answer(503, b"{}", {"Date": LONG_AGO, "Retry-After": "Sun, 06 Nov 1994 08:49:40 GMT"}),
    Answer(200, json.dumps(examples.GROUP).encode()),
]


def test_the_synchronous_client_waits_in_its_thread(
    script: Script, scripted: Truthtune, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    script.answers = list(BUSY)
    scripted.groups.get(examples.GROUP["id"])
    assert waited == [3.0]


def test_the_asynchronous_client_waits_in_its_loop(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    own: list[asyncio.AbstractEventLoop] = []
    really_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if asyncio.get_running_loop() in own:  # a server of other tests has a loop, too
            waited.append(seconds)
        else:
            await really_sleep(seconds)

    async def ask() -> None:
        own.append(asyncio.get_running_loop())
        async with AsyncTruthtune(script.url, "tt_op_test") as client:
            await client.groups.get(examples.GROUP["id"])

    monkeypatch.setattr(asyncio, "sleep", sleep)
    script.answers = list(BUSY)
    asyncio.run(ask())
    assert waited == [3.0]
