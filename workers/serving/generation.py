"""One answer, token by token: the model's next logits, a draw, the text that it makes certain."""

from collections.abc import Callable

import torch
from torch import Tensor

from workers.base_models import BaseModel
from workers.serving.prompts import answer_tokens, prompt_tokens
from workers.serving.requests import End, GenerationRequest
from workers.serving.text import TextStream


class Generation:
    """The state of one answer. Every method runs in the model's own thread.

    `activate` puts the answer's adapter in place; other answers may have taken its turn between two
    steps. Raises InvalidInput for a prompt that the model can't take.
    """

    def __init__(
        self, base: BaseModel, activate: Callable[[], None], request: GenerationRequest
    ) -> None:
        from transformers import DynamicCache

        self._base, self._activate, self._request = base, activate, request
        self._prompt = prompt_tokens(base, request.prompt)
        self._limit = answer_tokens(base, self._prompt, request)
        self._random = torch.Generator()
        if request.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(request.seed)
        self._text = TextStream(base, request.stop)
        self._cache = DynamicCache()
        self._next = self._prompt
        self._written = 0
        self.end: End | None = None

    @torch.inference_mode()
    def step(self) -> str:
        """Write one token; the text that it adds, perhaps none. Sets `end` with the last."""
        token = draw(self._logits_V(), self._request.temperature, self._request.top_p, self._random)
        self._written += 1
        self._next = [token]
        if token in self._base.eos_token_ids:
            return self._finish("stop")
        piece = self._text.add(token)
        if self._text.stopped:
            return piece + self._finish("stop")
        return piece + self._finish("length") if self._written == self._limit else piece

    def _logits_V(self) -> Tensor:
        self._activate()
        tokens = torch.tensor([self._next], device=self._base.model.device)
        output = self._base.model(
            input_ids=tokens, past_key_values=self._cache, use_cache=True, logits_to_keep=1
        )
        logits: Tensor = output.logits[0, -1]
        return logits.float().cpu()

    def _finish(self, reason: str) -> str:
        self.end = End.model_validate(
            {
                "finish_reason": reason,
                "prompt_tokens": len(self._prompt),
                "completion_tokens": self._written,
            }
        )
        return self._text.finish()


def draw(logits_V: Tensor, temperature: float, top_p: float, random: torch.Generator) -> int:
    """One token of softmax(logits / temperature); the likeliest at temperature 0.

    With top_p < 1 only from the nucleus: the fewest likeliest tokens whose probabilities reach
    top_p together (Holtzman et al. 2020, arXiv 1904.09751, §3.1).
    """
    if logits_V.ndim != 1:
        raise ValueError(f"logits of one token have shape (V,), not {tuple(logits_V.shape)}")
    if temperature == 0:
        return int(logits_V.argmax())
    # The largest is subtracted first: a tiny temperature would make infinities of the quotients.
    probabilities_V = torch.softmax((logits_V - logits_V.max()).double() / temperature, -1)
    if top_p < 1:
        sorted_V, order_V = probabilities_V.sort(descending=True)
        before_V = sorted_V.cumsum(0) - sorted_V
        outside_V = order_V[before_V >= top_p]
        outside_V = outside_V[outside_V != order_V[0]]  # rounding must leave one
        probabilities_V = probabilities_V.index_fill(0, outside_V, 0.0)
    return int(torch.multinomial(probabilities_V, 1, generator=random))
