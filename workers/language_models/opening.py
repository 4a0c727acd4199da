"""From what a request names to a language model that can be asked."""

from collections.abc import Mapping, Sequence

from api_schemas.errors import InvalidInput, LanguageModelFailed
from api_schemas.language_models import EndpointAccess, EndpointModel, LanguageModelSpec
from workers.language_models.call_book import CallBook
from workers.language_models.chat import LanguageModel
from workers.language_models.meter import Meter, Tariff
from workers.language_models.recorded import RecordedModel, Source


def open_model(
    spec: LanguageModelSpec,
    *,
    revisions: Mapping[str, str],
    endpoints: Sequence[EndpointAccess],
    calls: CallBook,
    meter: Meter,
) -> LanguageModel:
    """The model, recording its calls in `calls` and counting them by `meter`.

    Nothing is loaded or asked before the first reply that isn't recorded; a replay
    needs no endpoint. Raises InvalidInput for
    an endpoint or a model that isn't listed, and for a base model without a revision.
    """
    if isinstance(spec, EndpointModel):
        return _at_endpoint(spec, endpoints, calls, meter)
    name = spec.base_model
    if name not in revisions:
        raise InvalidInput(
            f"base model {name!r} was not resolved when this was asked for",
            code="unknown_base_model",
            param="base_model",
        )
    identity = f"local:{name}:{revisions[name]}"

    def source() -> Source:
        from workers.language_models.local import LocalSource  # torch, seconds to import

        return LocalSource(calls.artifacts, name, revisions[name], identity)

    return RecordedModel(identity, source, Tariff(), calls, meter)


def _at_endpoint(
    spec: EndpointModel, endpoints: Sequence[EndpointAccess], calls: CallBook, meter: Meter
) -> LanguageModel:
    identity = f"endpoint:{spec.endpoint}:{spec.model}"
    if calls.is_replay:
        return RecordedModel(identity, _nothing_to_buy, Tariff(), calls, meter)
    found = {each.name: each for each in endpoints}.get(spec.endpoint)
    if found is None or spec.model not in found.models:
        known = [f"{each.name}: {', '.join(each.models)}" for each in endpoints]
        raise InvalidInput(
            f"model {spec.model!r} of endpoint {spec.endpoint!r} is not on the operator's list, "
            f"which has {'; '.join(known) or 'none'}",
            code="unknown_endpoint",
            param="endpoint",
        )

    def source() -> Source:
        if found.key_missing:
            raise LanguageModelFailed(
                f"endpoint {found.name!r} can't be asked: its key can't be read. Its operator must "
                "mend that and start the coordinator again; then this can be gone on with",
                code="endpoint_unavailable",
            )
        from workers.language_models.endpoint import EndpointSource

        return EndpointSource(found, spec.model)

    tariff = Tariff(found.prompt_price, found.completion_price, found.currency)
    return RecordedModel(identity, source, tariff, calls, meter)


def _nothing_to_buy() -> Source:
    raise ValueError("a replay buys no calls")
