"""What a group may read of its judge's failure, and what that is a failure of.

An endpoint's own words name the operator's account, its limits or what it was sent. They go to the
log. A round's failure is told to all groups: so it says neither which endpoint nor which model.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api_schemas.errors import (
    BudgetExhausted,
    EndpointUnavailable,
    LanguageModelFailed,
    TruthtuneError,
)
from workers.language_models.chat import ChatRequest, LanguageModel, Reply

_STATUS = re.compile(r"it answered (\d{3})")
_OPERATORS = (401, 402, 403, 404)
"""The key, its account, or the list of endpoints is at fault: nothing that a group said."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Discreet:
    """The model, with failures that a group may read; `exhausted` says which limit it met.

    `sealed` failures are not logged either, since an endpoint may repeat what it was sent.
    """

    model: LanguageModel
    exhausted: str
    sealed: bool

    @property
    def identity(self) -> str:
        return self.model.identity

    def complete(
        self, requests: Sequence[ChatRequest], done: Callable[[int], None] | None = None
    ) -> list[Reply]:
        """As `LanguageModel.complete`; raises EndpointUnavailable where an endpoint is away."""
        try:
            return self.model.complete(requests, done)
        except BudgetExhausted as error:
            raise BudgetExhausted(self.exhausted, param=error.param) from None
        except LanguageModelFailed as error:
            if not error.code.startswith("endpoint_"):
                raise
            if not self.sealed:
                log.warning("a judge failed: %s", error.message)
            raise told_to_groups(error) from None


def told_to_groups(error: LanguageModelFailed) -> TruthtuneError:
    """The failure of an endpoint by its status and code, without the endpoint's words.

    EndpointUnavailable: another attempt may get a reply. LanguageModelFailed `endpoint_refused`:
    the operator's key or list is at fault. `request_refused` and `endpoint_garbage`: this judge's
    own requests are answered so.
    """
    found = _STATUS.search(error.message) if error.code != "endpoint_garbage" else None
    status = f"status {found[1]}" if found else "no status"
    if error.code == "endpoint_unavailable":
        return EndpointUnavailable(
            f"a judge's endpoint gives no replies for now ({status}, {error.code})"
        )
    is_operators = found is None or int(found[1]) in _OPERATORS or found[1].startswith("3")
    code = error.code
    if code == "endpoint_refused" and not is_operators:
        code = "request_refused"
    return LanguageModelFailed(f"the judge's endpoint failed ({status}, {code})", code=code)
