"""The language models that a corpus or an evaluation names, checked before anything is queued."""

from collections.abc import Mapping

from api_schemas.errors import InvalidInput
from api_schemas.language_models import (
    Budget,
    EndpointAccess,
    EndpointModel,
    LanguageModelSpec,
    LocalModel,
)
from service.dependencies import AppState
from service.endpoints_file import EndpointList
from service.fine_tuned_models.resolving import resolve_allowed

Named = Mapping[str, LanguageModelSpec]
"""By the field that names it."""


def require_endpoints(state: AppState, named: Named, budget: Budget) -> None:
    """Raises InvalidInput for an endpoint, or a model of it, that the operator's list lacks, for
    endpoints that are priced in several currencies: one budget could not hold their costs, and as
    `require_prices`."""
    first: EndpointAccess | None = None
    for param, spec in named.items():
        found = state.settings.endpoint_list.require(spec, param)
        if found is None or found.currency is None:
            continue
        first = first or found
        if found.currency != first.currency:
            raise InvalidInput(
                f"{param}.endpoint: {found.name!r} is priced in {found.currency}, and "
                f"{first.name!r} in {first.currency}; one budget can't hold both",
                param=f"{param}.endpoint",
            )
    require_prices(state.settings.endpoint_list, named, budget)


def require_prices(endpoints: EndpointList, named: Named, budget: Budget) -> None:
    """Raises InvalidInput for a limit of money that could not stop an endpoint without prices. One
    whose list says a price of 0 in a currency charges nothing, and needs no stopping."""
    if budget.max_cost_micro_units is None:
        return
    for param, spec in named.items():
        listed = endpoints.listed.get(spec.endpoint) if isinstance(spec, EndpointModel) else None
        if listed is not None and listed.currency is None:
            raise InvalidInput(
                f"budget.max_cost_micro_units: the endpoint {listed.name!r} of {param} has no "
                "price, so that a limit of money limits nothing there; leave it out, or let the "
                "operator give prompt_price, completion_price and currency in the file "
                "TRUTHTUNE_ENDPOINTS (a price of 0 says that it charges nothing)",
                param="budget.max_cost_micro_units",
            )


def pin_local_models(
    state: AppState, named: Named, pinned: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The revisions of the local models by name; those `pinned` before stay as they were.

    It belongs before a write transaction: digesting a model's weights is slow the first time.
    Raises InvalidInput, NotFound and Conflict, naming the field.
    """
    revisions = dict(pinned or {})
    found = {}
    for param, spec in named.items():
        if isinstance(spec, LocalModel):
            name = spec.base_model
            if name not in revisions:
                revisions[name] = resolve_allowed(state, name, f"{param}.base_model").revision
            found[name] = revisions[name]
    return found
