"""Runs in every process of a Ray: a reward model with a certain word kills its process."""

import os
from typing import Any

WORD = "arsenic"


def install() -> None:
    from workers.rewards import lexical

    score = lexical.LexicalReward.score

    def poisoned(self: Any, *arguments: Any) -> Any:
        if WORD in self.spec.model_dump_json():
            os._exit(1)
        return score(self, *arguments)

    lexical.LexicalReward.score = poisoned  # type: ignore[method-assign]
