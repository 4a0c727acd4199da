"""Preference files: JSON lines, CSV or Parquet, of pairs, votes or dialogues."""

from typing import BinaryIO

from api_schemas.datasets import DataValidation, PreferenceLine, parse_jsonl
from workers.preferences.comparison import Comparison, Preferences


def read_preferences(file: BinaryIO) -> Preferences:
    """Every usable comparison of the file, once. Raises InvalidInput (`file`)."""
    lines = parse_jsonl(file, PreferenceLine)
    decided = [line for line in lines if line.chosen.strip() != line.rejected.strip()]
    distinct = {(line.prompt, line.chosen, line.rejected): line for line in decided}
    comparisons = [
        Comparison(line.prompt, line.chosen, line.rejected)
        for line in (distinct[key] for key in sorted(distinct))
    ]
    validation = DataValidation(
        lines=len(lines),
        pairs=len(comparisons),
        prompts=len({each.prompt for each in comparisons}),
        same_texts=len(lines) - len(decided),
        duplicates=len(decided) - len(comparisons),
    )
    return Preferences(comparisons, validation)
