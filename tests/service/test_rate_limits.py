"""How often one may ask: by key, and by address before a key is known."""

from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from support import add_key

from service.app import create_app
from service.auth import new_secret
from service.rate_limits import UPLOAD_COST, TokenBuckets
from service.settings import Settings


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_what_it_holds_and_what_came_back_since() -> None:
    """60 a minute: one token a second."""
    clock = Clock()
    buckets = TokenBuckets(60, clock=clock)
    assert [buckets.take("a").allowed for _ in range(61)] == [True] * 60 + [False]
    assert buckets.take("a").seconds == 1
    clock.now = 2.5
    assert [buckets.take("a").allowed for _ in range(3)] == [True, True, False]
    clock.now = 3600
    assert buckets.take("a").left == 59


@given(
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 12)), max_size=60),
    per_minute=st.integers(1, 100),
)
def test_no_order_of_requests_gets_more_than_a_bucket_and_its_refill(
    steps: list[tuple[float, int]], per_minute: int
) -> None:
    """Tokens taken ≤ capacity + elapsed × rate, for costs within the capacity."""
    clock = Clock()
    buckets = TokenBuckets(per_minute, clock=clock)
    taken = 0
    for wait, asked in steps:
        clock.now += wait
        cost = min(asked, per_minute)
        taken += cost if buckets.take("a", cost).allowed else 0
        assert taken <= per_minute + clock.now * per_minute / 60 + 1e-6


@given(per_minute=st.integers(1, 1000), cost=st.integers(1, 20), before=st.integers(0, 1000))
def test_whoever_waits_as_long_as_told_is_not_refused_again(
    per_minute: int, cost: int, before: int
) -> None:
    clock = Clock()
    buckets = TokenBuckets(per_minute, clock=clock)
    for _ in range(before):
        buckets.take("a")
    refused = buckets.take("a", cost)
    if not refused.allowed:
        clock.now += refused.seconds
        assert buckets.take("a", cost).allowed


def test_the_buckets_are_bounded_and_the_longest_unseen_goes() -> None:
    buckets = TokenBuckets(1, max_buckets=100, clock=Clock())
    for number in range(1000):
        buckets.take("busy")
        buckets.take(f"stranger {number}")
        assert len(buckets) <= 100
    assert "busy" in buckets
    assert not buckets.take("busy").allowed


@contextmanager
def _client(settings: Settings, **limits: int) -> Iterator[TestClient]:
    with TestClient(create_app(settings.model_copy(update=limits))) as client:
        yield client


def _with_key(client: TestClient, group_id: str | None = None) -> dict[str, str]:
    state = client.app.state.truthtune  # type: ignore[attr-defined]
    secret = add_key(state, "group" if group_id else "operator", group_id)
    return {"Authorization": f"Bearer {secret}"}


def test_a_key_that_asks_too_often_is_told_when_to_ask_again(settings: Settings) -> None:
    with _client(settings, rate_limit_per_minute=3) as client:
        busy, other = _with_key(client), _with_key(client)
        answers = [client.get("/v1/groups", headers=busy) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["RateLimit"] for answer in answers] == [
            '"key";r=2',
            '"key";r=1',
            '"key";r=0',
            '"key";r=0',
        ]
        refused = answers[-1]
        assert refused.headers["RateLimit-Policy"] == '"key";q=3;w=60'
        assert refused.json()["code"] == "rate_limited"
        assert 1 <= int(refused.headers["Retry-After"]) <= 20
        assert client.get("/v1/groups", headers=other).headers["RateLimit"] == '"key";r=2'


def test_an_upload_counts_as_ten_requests(settings: Settings) -> None:
    with _client(settings, rate_limit_per_minute=2 * UPLOAD_COST) as client:
        key = _with_key(client)
        client.post("/v1/files", headers=key)
        assert client.get("/v1/groups", headers=key).headers["RateLimit"] == '"key";r=9'


def test_an_address_that_guesses_keys_waits_and_a_good_key_beside_it_does_not(
    settings: Settings,
) -> None:
    with _client(settings, failed_authentications_per_minute=5) as client:
        good, late = _with_key(client), _with_key(client)
        assert client.get("/v1/groups", headers=good).status_code == 200
        guesses = [{"Authorization": f"Bearer {new_secret('operator')}"} for _ in range(7)]
        answers = [client.get("/v1/groups", headers=guess) for guess in guesses]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
        assert int(answers[-1].headers["Retry-After"]) >= 1
        assert client.get("/v1/groups", headers=good).status_code == 200
        assert client.get("/v1/groups", headers=late).status_code == 429
        elsewhere = TestClient(client.app, client=("2001:db8::1", 1))
        elsewhere.portal = client.portal
        assert elsewhere.get("/v1/groups", headers=late).status_code == 200


def test_addresses_of_one_ipv6_network_count_as_one(settings: Settings) -> None:
    with _client(settings, failed_authentications_per_minute=3) as client:
        statuses = []
        for host in range(4):
            guesser = TestClient(client.app, client=(f"2001:db8::{host:x}", 1))
            guesser.portal = client.portal
            guess = {"Authorization": f"Bearer {new_secret('group')}"}
            statuses.append(guesser.get("/v1/rounds", headers=guess).status_code)
        assert statuses == [401, 401, 401, 429]


def test_a_limit_of_zero_is_none(settings: Settings) -> None:
    off = {"rate_limit_per_minute": 0, "failed_authentications_per_minute": 0}
    with _client(settings, **off) as client:
        key = _with_key(client)
        answers = [client.get("/v1/groups", headers=key) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        assert "RateLimit" not in answers[0].headers
