"""What a report would say, as a histogram and the responses at both ends."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from api_schemas.previews import Histogram, PreviewResult, ScoredResponse
from client.outcome_tables import figure_table

_BAR = 40
_PROMPT_CHARACTERS = 60


def preview_parts(found: PreviewResult) -> Iterator[RenderableType]:
    """Why it would be excluded, or how its rewards lie, the best, the worst, and warnings."""
    samples = f"{found.responses} responses of the initial model to {found.prompts} prompts"
    if found.scored is None:
        yield f"{samples}: the round would exclude this report, for {found.excluded}"
        return
    scored = found.scored
    yield (
        f"{samples}: scores from {scored.minimum:.6g} to {scored.maximum:.6g}, mean "
        f"{scored.mean_score:.6g}; mean reward {scored.mean_reward:.3f}"
    )
    yield _histogram_table(scored.histogram)
    yield _response_table("best", scored.best)
    yield _response_table("worst", scored.worst)
    for warning in found.warnings:
        yield f"warning: {warning}"


def _histogram_table(histogram: Histogram) -> Table:
    """A line a bin; the longest bar is of the fullest."""
    table = figure_table("rewards", ["from", "to"], ["responses"])
    table.add_column("", no_wrap=True)
    fullest = max(histogram.counts, default=0) or 1
    ends = zip(histogram.edges, histogram.edges[1:], histogram.counts, strict=False)
    for low, high, count in ends:
        bar = "█" * round(_BAR * count / fullest) or ("▏" if count else "")
        table.add_row(f"{low:.2f}", f"{high:.2f}", str(count), bar)
    return table


def _response_table(title: str, responses: Sequence[ScoredResponse]) -> Table:
    """Texts are shown as they are: brackets in them are no markup."""
    table = figure_table(title, [], ["reward", "score"])
    table.add_column("prompt")
    table.add_column("response")
    for each in responses:
        prompt = each.prompt
        if len(prompt) > _PROMPT_CHARACTERS:
            prompt = prompt[: _PROMPT_CHARACTERS - 1] + "…"
        table.add_row(
            f"{each.reward:.3f}", f"{each.score:.6g}", Text(prompt), Text(each.response.strip())
        )
    return table
