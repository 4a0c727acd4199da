"""What calls may take, and what they took: a budget that several threads and models share.

A call is bought in two steps. Before it, the most that it can take is reserved; after it, what it
took is settled. So the budget holds however many calls are in flight, as long as no call takes more
than its bound: then what it took is counted all the same.
"""

import threading
from dataclasses import dataclass

from api_schemas.errors import BudgetExhausted, InvalidInput
from api_schemas.language_models import Budget, Spent

_MILLION = 1_000_000


@dataclass(frozen=True)
class Usage:
    """Of one call. Money is in millionths of the tariff's currency."""

    prompt_tokens: int
    completion_tokens: int
    cost_micro_units: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Tariff:
    """Prices of a million tokens, in millionths of `currency`; null where nothing is charged."""

    prompt_price: int = 0
    completion_price: int = 0
    currency: str | None = None

    def usage(self, prompt_tokens: int, completion_tokens: int) -> Usage:
        """cost = ⌈(prompt tokens·prompt price + completion tokens·completion price)/10⁶⌉.

        Rounded up, a call at a time: a sum of costs is never less than what was charged.
        """
        charged = prompt_tokens * self.prompt_price + completion_tokens * self.completion_price
        return Usage(prompt_tokens, completion_tokens, -(-charged // _MILLION))


class Meter:
    """Counts what is spent against a budget; safe to use from several threads.

    `already` is what runs before this one spent, of which nothing is bought again.
    """

    def __init__(self, budget: Budget, already: Spent | None = None):
        self._budget = budget
        self._spent = already or Spent()
        self._changed = threading.Condition()
        self._open: list[Usage] = []
        """What is reserved, for each call in flight."""

    @property
    def spent(self) -> Spent:
        with self._changed:
            return self._spent

    def charge_in(self, currency: str | None) -> None:
        """Every price is in this currency from now on; None says that nothing has a price.

        Raises InvalidInput where there was another: sums of two currencies mean nothing.
        """
        with self._changed:
            known = self._spent.currency
            if currency is not None and known not in (None, currency):
                raise InvalidInput(
                    f"one budget can't hold costs in {known} and in {currency}: use endpoints that "
                    "are priced in one currency",
                    code="mixed_currencies",
                    param="budget.max_cost_micro_units",
                )
            if currency is not None:
                self._spent = self._spent.model_copy(update={"currency": currency})

    def reserve(self, most: Usage) -> None:
        """Wait until that much is sure to be left. Raises BudgetExhausted where it can't be, since
        nothing is in flight any more that could take less than was reserved for it."""
        with self._changed:
            while not self._fits(most):
                if not self._open:
                    raise self._exhausted(most)
                self._changed.wait()
            self._open.append(most)

    def try_reserve(self, most: Usage) -> bool:
        """Reserve if there is room at once. Raises BudgetExhausted as `reserve` does."""
        with self._changed:
            fits = self._fits(most)
            if not fits and not self._open:
                raise self._exhausted(most)
            if fits:
                self._open.append(most)
            return fits

    def settle(self, most: Usage, took: Usage) -> None:
        """The reserved call was bought, and took this."""
        self._close(most, took, calls=1)

    def lose(self, most: Usage) -> None:
        """The reserved call was sent and no reply came: it may have been charged in full, so that
        it is counted as the most that it can have taken."""
        self._close(most, most, calls=0)

    def release(self, most: Usage) -> None:
        """The reserved call was not made."""
        self._close(most, Usage(0, 0), calls=0)

    def replay(self, calls: int) -> None:
        """So many replies were recorded before."""
        with self._changed:
            replayed = self._spent.replayed + calls
            self._spent = self._spent.model_copy(update={"replayed": replayed})

    def _close(self, most: Usage, took: Usage, calls: int) -> None:
        with self._changed:
            self._open.remove(most)
            self._spent = added(self._spent, took, calls)
            self._changed.notify_all()

    def _fits(self, most: Usage) -> bool:
        tokens = _tokens(self._spent) + sum(each.tokens for each in self._open) + most.tokens
        cost = self._spent.cost_micro_units + most.cost_micro_units
        cost += sum(each.cost_micro_units for each in self._open)
        limit = self._budget.max_cost_micro_units
        return tokens <= self._budget.max_tokens and (limit is None or cost <= limit)

    def _exhausted(self, most: Usage) -> BudgetExhausted:
        tokens, limit = _tokens(self._spent), self._budget.max_tokens
        if tokens + most.tokens > limit:
            name, told = "max_tokens", f"{tokens} of {limit} tokens are spent"
            needed = f"{most.tokens} tokens"
        else:
            unit = f"millionths of {self._spent.currency or 'the currency'}"
            name = "max_cost_micro_units"
            told = (
                f"{self._spent.cost_micro_units} of {self._budget.max_cost_micro_units} {unit} "
                "are spent"
            )
            needed = f"{most.cost_micro_units} {unit}"
        return BudgetExhausted(
            f"{told}, and the next call can take {needed}; every reply that was bought is kept, "
            f"and with a larger budget ({name}) the run goes on from here",
            param=f"budget.{name}",
        )


def added(spent: Spent, took: Usage, calls: int) -> Spent:
    return spent.model_copy(
        update={
            "calls": spent.calls + calls,
            "prompt_tokens": spent.prompt_tokens + took.prompt_tokens,
            "completion_tokens": spent.completion_tokens + took.completion_tokens,
            "cost_micro_units": spent.cost_micro_units + took.cost_micro_units,
        }
    )


def _tokens(spent: Spent) -> int:
    return spent.prompt_tokens + spent.completion_tokens
