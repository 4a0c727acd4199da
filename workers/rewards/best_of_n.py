"""Best of n: of n samples of a model, the one that a reward model scores highest.

Sampling so is a policy of its own, π_n. Its distance from the model π it samples from is at most

    KL(π_n ‖ π) ≤ log n − (n − 1)/n   nats

(Stiennon et al. 2020, who state it as an equality). Beirami et al. (2024, "Theoretical
guarantees on the alignment of best-of-n") show that it is an upper bound: equality needs that no
two samples are equal or score the same, and where single responses are likely, as after an instruct
model's short prompts, the true divergence is far smaller.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from api_schemas.errors import BadReport
from workers.mechanism.arrays import checked


def kl_bound(samples: int) -> float:
    """log n − (n − 1)/n nats, 0 for one sample. Raises ValueError for fewer."""
    if samples < 1:
        raise ValueError(f"best of {samples}: there must be at least 1 sample")
    return math.log(samples) - (samples - 1) / samples


def rerank(scores: ArrayLike) -> list[int]:
    """Places of the responses, best first; those with equal scores keep their order.

    Raises BadReport for a score that isn't finite: nobody knows where it belongs.
    """
    scores_J = checked("scores_J", scores, (None,))
    bad_J = ~np.isfinite(scores_J)
    if bad_J.any():
        place = int(np.flatnonzero(bad_J)[0])
        raise BadReport(
            f"the score of response {place} is {scores_J[place]}; {int(bad_J.sum())} of "
            f"{len(scores_J)} are not finite"
        )
    return [int(place) for place in np.argsort(-scores_J, kind="stable")]
