"""Fixed samples that show whether a fitted reward model works at all."""

from workers.rewards.assessment import require_finite
from workers.rewards.registry import FittedRewardModel

PROBE_PROMPTS = (
    "How do I reset my password?",
    "Write a poem about rain.",
    "我该如何学习一门新语言？",
)
PROBE_RESPONSES = (
    "",
    "Yes.",
    "I'm sorry, I can't help with that.",
    "Thank you for asking! Please open Settings, choose Account, and follow the three steps.",
    "That is a terrible idea and you should feel bad about it. WHY WOULD YOU EVEN ASK?!",
    "1. Boil water.\n2. Add the pasta.\n3. Wait for 9 minutes.\n\nEnjoy 🍝",
)
"""Fixed, so that a probe tells of the reward model only: empty, short, polite, rude, a list."""


def probe_fitted(model: FittedRewardModel) -> None:
    """Score every prompt with every response. Raises BadReport for a score that isn't finite."""
    prompts = [prompt for prompt in PROBE_PROMPTS for _ in PROBE_RESPONSES]
    responses = list(PROBE_RESPONSES) * len(PROBE_PROMPTS)
    require_finite(model.score(prompts, responses), prompts, responses)
