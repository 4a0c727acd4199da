"""Options of commands that go on with what ran out of its budget."""

from typing import Annotated

import typer

from api_schemas.language_models import Budget
from client.commands.context import validated

MaxTokens = Annotated[int | None, typer.Option(help="In all, with what is spent; else as before.")]
MaxCost = Annotated[
    int | None, typer.Option(help="In all, in millionths of the currency; else as before.")
]


def changed(before: Budget, max_tokens: int | None, max_cost: int | None) -> Budget:
    """Raises InvalidInput."""
    given = {"max_tokens": max_tokens, "max_cost_micro_units": max_cost}
    asked = {name: value for name, value in given.items() if value is not None}
    found: Budget = validated(Budget, before.model_dump() | asked, "the budget")
    return found
