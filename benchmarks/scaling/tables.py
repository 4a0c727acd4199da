"""The tables of docs/scale.md, from the measurements in benchmarks/results/scale-cpu.json.

A test compares them with the page.
"""

from collections.abc import Callable, Mapping
from typing import Any

from . import cost_tables, measured_tables

Found = Mapping[str, Any]

TABLES: Mapping[str, Callable[[Found], str]] = {
    "hardware": lambda found: measured_tables.hardware(),
    "constants": measured_tables.constants,
    "measured": measured_tables.measured,
    "arithmetic": measured_tables.arithmetic,
    "round": measured_tables.real_round,
    "by_stage": cost_tables.by_stage,
    "by_groups": cost_tables.by_groups,
    "by_model": cost_tables.by_model,
    "by_training": cost_tables.by_training,
    "bytes": lambda found: cost_tables.bytes_of_a_round(),
    "rows": cost_tables.rows,
    "limits": cost_tables.breaking,
    "one_by_one": measured_tables.one_by_one,
    "all_at_once": measured_tables.all_at_once,
}
