"""From what was measured on a little to what it takes on much. Numbers in, numbers out.

Two measurements, of u₁ < u₂ units of work in s₁ and s₂ seconds, stand for a cost of a + b·u:

    b = (s₂ − s₁)/(u₂ − u₁),  expected(u) = s₂ + b·(u − u₂)

The range is from the least to the largest of that and of s₂·u/u₂, the cost without any fixed part,
widened by MACHINE_NOISE. Measured at u itself (u = u₂) both are s₂. docs/quotes.md §2
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from api_schemas.quotes import Estimate

MACHINE_NOISE = 0.25
"""The same work took up to so much more or less time, as a share, on a machine that others use too
(docs/quotes.md §4)."""
GROWTH = 4


@dataclass(frozen=True)
class Timing:
    """`units` of work took `seconds`."""

    units: float
    seconds: float

    def __post_init__(self) -> None:
        if not (self.units > 0 and self.seconds > 0):
            raise ValueError(f"{self.units} units in {self.seconds} s, both must be positive")


@dataclass(frozen=True)
class Cost:
    """Seconds by units of work, from a small and a large measurement."""

    small: Timing
    large: Timing

    def __post_init__(self) -> None:
        if self.small.units > self.large.units:
            raise ValueError(f"{self.small.units} units are more than {self.large.units}")

    @property
    def slope(self) -> float:
        """b, seconds a unit. Where more work took less time the fixed part can't be told, and is
        taken for none."""
        apart = self.large.units - self.small.units
        more = self.large.seconds - self.small.seconds
        proportional = self.large.seconds / self.large.units
        return more / apart if apart > 0 and more > 0 else proportional

    def of(self, units: float) -> Estimate:
        """Seconds that `units` take. Raises ValueError for a negative number of them."""
        if units < 0:
            raise ValueError(f"{units} units of work")
        if units == 0:
            return Estimate(expected=0, low=0, high=0)
        proportional = self.large.seconds * units / self.large.units
        affine = max(0.0, self.large.seconds + self.slope * (units - self.large.units))
        return widened(affine, min(affine, proportional), max(affine, proportional))


def grown(measure: Callable[[int], Timing], start: int, whole: int, seconds: float) -> Cost:
    """The cost by measurements of ever more work, GROWTH times as much each time, up to the whole.

    Ends before one that could take longer than `seconds`, as it would if all of the cost grew. The
    last two stand for all; where there is but one, the cost is proportional.
    """
    found = [measure(min(start, whole))]
    while found[-1].units < whole and found[-1].seconds * GROWTH <= seconds:
        next_one = measure(min(int(found[-1].units * GROWTH), whole))
        if next_one.units <= found[-1].units:  # it can't be cut so fine
            break
        found.append(next_one)
    return Cost(found[-2] if len(found) > 1 else found[-1], found[-1])


def widened(expected: float, low: float, high: float) -> Estimate:
    """The range with the machine's noise on either side of it."""
    return Estimate(
        expected=expected, low=low * (1 - MACHINE_NOISE), high=high * (1 + MACHINE_NOISE)
    )


def exactly(seconds: float) -> Estimate:
    """Of what was measured as it is: only the noise remains."""
    return widened(seconds, seconds, seconds)


def times(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(
        expected=estimate.expected * factor,
        low=estimate.low * factor,
        high=estimate.high * factor,
    )


def total(estimates: Iterable[Estimate]) -> Estimate:
    """The sum. Ranges add up too: what makes one stage slow may make all of them slow."""
    found = list(estimates)
    return Estimate(
        expected=sum(each.expected for each in found),
        low=sum(each.low for each in found),
        high=sum(each.high for each in found),
    )
