"""Results of Ray's tasks, and their errors as they were raised."""

from typing import Any

import ray

from api_schemas.errors import TruthtuneError


def result(reference: Any) -> Any:
    """The task's result; a TruthtuneError that it raised comes without Ray's wrapping."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TruthtuneError):
            raise error.cause from error
        raise
