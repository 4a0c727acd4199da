"""Budgets: never more than they allow, however many calls are in flight, and resumable."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from language_model_support import ask, asking
from scripted_endpoint import Answer, ScriptedEndpoint, cut, scripted_endpoint, status

from api_schemas.errors import BudgetExhausted, InvalidInput, LanguageModelFailed
from api_schemas.language_models import Budget, Spent
from workers.language_models.call_book import CallBook
from workers.language_models.meter import Meter, Tariff, Usage

REQUESTS = [ask(f"Question {number:02}", max_tokens=10) for number in range(12)]
# A bound is 64 of the request, 16 of the message, its 11 bytes, and 10 to write.
BOUND = 64 + 16 + 11 + 10
# The endpoint counts words: "Question 03" and "Yes."
TAKEN = 2 + 1


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with scripted_endpoint() as running:
        yield running


def test_nothing_is_bought_that_might_not_fit(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    """n calls leave room for another while 3·n + 101 ≤ 116, so that 6 are bought."""
    model = asking(endpoint, tmp_path, budget=Budget(max_tokens=BOUND + 5 * TAKEN), concurrency=8)
    with pytest.raises(BudgetExhausted) as raised:
        model.model.complete(REQUESTS)
    assert len(endpoint.asked) == 6
    assert model.meter.spent == Spent(calls=6, prompt_tokens=12, completion_tokens=6)
    assert raised.value.param == "budget.max_tokens"
    assert f"18 of {BOUND + 15} tokens are spent" in raised.value.message
    assert f"can take {BOUND} tokens" in raised.value.message
    assert "goes on from here" in raised.value.message
    assert len(model.book.calls()) == 6, "what was bought is kept"


def test_with_a_larger_budget_the_run_goes_on_from_there(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    with pytest.raises(BudgetExhausted):
        asking(endpoint, tmp_path, budget=Budget(max_tokens=BOUND + 5 * TAKEN)).model.complete(
            REQUESTS
        )
    again = asking(endpoint, tmp_path, budget=Budget(max_tokens=BOUND + 11 * TAKEN))
    assert len(again.model.complete(REQUESTS)) == 12
    assert len(endpoint.asked) == 12, "nothing is bought twice"
    assert again.meter.spent == Spent(calls=12, replayed=6, prompt_tokens=24, completion_tokens=12)


def test_the_budget_of_a_run_counts_what_was_spent_before_it(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    budget = Budget(max_tokens=BOUND + 5 * TAKEN)
    for _ in range(2):
        with pytest.raises(BudgetExhausted):
            asking(endpoint, tmp_path, budget=budget).model.complete(REQUESTS)
    assert len(endpoint.asked) == 6


def test_money_is_counted_by_the_prices_and_rounded_up(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    """A million tokens read cost 0.5 and written 2.0 EUR: 2·0.5 + 1·2 = 3 millionths a call; its
    bound is 91·0.5 + 10·2 = 65.5, rounded up 66. Calls are bought while 3·n + 66 ≤ 72."""
    model = asking(
        endpoint,
        tmp_path,
        budget=Budget(max_cost_micro_units=72),
        prompt_price=500_000,
        completion_price=2_000_000,
        currency="EUR",
    )
    with pytest.raises(BudgetExhausted, match="9 of 72 millionths of EUR are spent") as raised:
        model.model.complete(REQUESTS)
    assert raised.value.param == "budget.max_cost_micro_units"
    assert len(endpoint.asked) == 3
    assert model.meter.spent.cost_micro_units == 9
    assert model.meter.spent.currency == "EUR"
    assert model.book.spent == model.meter.spent


def test_a_fraction_of_a_millionth_is_a_millionth() -> None:
    assert Tariff(prompt_price=1).usage(1, 0).cost_micro_units == 1
    assert Tariff(prompt_price=1_000_000).usage(7, 100).cost_micro_units == 7
    assert Tariff().usage(10**9, 10**9).cost_micro_units == 0


def test_an_endpoint_that_takes_more_than_its_bound_is_counted_all_the_same(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda _: Answer("thought " * 500)
    model = asking(endpoint, tmp_path, budget=Budget(max_tokens=BOUND + 3), concurrency=1)
    with pytest.raises(BudgetExhausted):
        model.model.complete(REQUESTS)
    assert model.meter.spent.completion_tokens == 500
    assert len(endpoint.asked) == 1


def test_an_attempt_that_was_lost_counts_with_its_bound(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    """It was sent, so it may be charged; one that was refused was not."""
    endpoint.faults += [cut(), status(500), status(429, retry_after="0")]
    model = asking(endpoint, tmp_path)
    model.model.complete(REQUESTS[:1])
    spent = model.meter.spent
    assert spent.prompt_tokens + spent.completion_tokens == BOUND + TAKEN
    assert spent.calls == 1


@pytest.mark.parametrize("url", ["{folder}", "memory://{folder}"])
def test_what_was_lost_counts_in_every_later_run(
    endpoint: ScriptedEndpoint, tmp_path: Path, url: str
) -> None:
    """And is no call: a replay's lines say what was replied, not what was tried."""
    endpoint.faults += [cut(), cut(), status(500)]
    prices = {"prompt_price": 500_000, "completion_price": 2_000_000, "currency": "EUR"}
    folder = url.format(folder=tmp_path)
    first = asking(endpoint, folder, attempts=2, **prices)
    with pytest.raises(LanguageModelFailed):
        first.model.complete(REQUESTS[:1])
    assert CallBook(first.book.artifacts, "a-run").spent == first.meter.spent
    second = asking(endpoint, folder, **prices)
    second.model.complete(REQUESTS[:1])
    spent = second.meter.spent
    assert spent.prompt_tokens + spent.completion_tokens == 2 * BOUND + TAKEN
    assert (spent.calls, spent.cost_micro_units) == (1, 2 * 66 + 3)
    assert second.book.spent == spent == CallBook(first.book.artifacts, "a-run").spent
    assert second.book.to_jsonl().count(b"\n") == 1
    second.book.forget()
    assert CallBook(first.book.artifacts, "a-run").spent == Spent()


def test_attempts_that_are_lost_stay_within_the_budget(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.faults += [cut()] * 5
    model = asking(endpoint, tmp_path, budget=Budget(max_tokens=2 * BOUND))
    with pytest.raises(BudgetExhausted):
        model.model.complete(REQUESTS[:1])
    assert len(endpoint.asked) == 2


def test_threads_together_never_reserve_more_than_there_is() -> None:
    meter, most = Meter(Budget(max_tokens=1000)), Usage(60, 40)
    lock, in_flight, worst = threading.Lock(), [0], [0]

    def buy() -> None:
        while True:
            try:
                meter.reserve(most)
            except BudgetExhausted:
                return
            with lock:
                in_flight[0] += 100
                spent = meter.spent.prompt_tokens + meter.spent.completion_tokens
                worst[0] = max(worst[0], spent + in_flight[0])
            with lock:
                in_flight[0] -= 100
                meter.settle(most, Usage(5, 5))

    threads = [threading.Thread(target=buy) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # 10·n + 100 ≤ 1000 until n = 90: the 91st was bought, and ends it
    assert meter.spent.calls == 91
    assert worst[0] <= 1000


def test_a_reservation_waits_for_those_in_flight() -> None:
    meter, most = Meter(Budget(max_tokens=100)), Usage(60, 0)
    meter.reserve(most)
    assert not meter.try_reserve(most)
    waiting = threading.Thread(target=meter.reserve, args=(most,))
    waiting.start()
    meter.settle(most, Usage(10, 0))
    waiting.join(20)
    assert not waiting.is_alive()
    meter.release(most)
    assert meter.spent == Spent(calls=1, prompt_tokens=10)


def test_two_currencies_make_no_sum() -> None:
    meter = Meter(Budget())
    meter.charge_in(None)
    meter.charge_in("EUR")
    meter.charge_in(None)
    with pytest.raises(InvalidInput, match="EUR and in USD"):
        meter.charge_in("USD")
