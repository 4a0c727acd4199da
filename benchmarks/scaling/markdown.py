"""Numbers and tables as docs/scale.md shows them."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def short(value: float) -> str:
    """Three digits; 1.2e+07 becomes 1.2·10⁷."""
    if 0.001 <= abs(value) < 1e5 or value == 0:
        text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
        return text
    digits, power = f"{value:.2g}".split("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits}·10{raised}"


def size_of(number: float) -> str:
    """Bytes with a decimal unit."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            return f"{short(number / scale)} {unit}"
    return f"{short(number)} B"


def duration(seconds: float) -> str:
    for unit, scale in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * scale:
            return f"{short(seconds / scale)} {unit}"
    return f"{short(seconds)} s"


def percent(share: float) -> str:
    return f"{100 * share:+.0f} %".replace("-", "−")
