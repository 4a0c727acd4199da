"""Dialogues as public preference data writes them: turns marked Human and Assistant."""

_HUMAN = "\n\nHuman:"
_ASSISTANT = "\n\nAssistant:"


class NotAPair(ValueError):
    """Why two dialogues are not one prompt with two replies."""


def split_dialogues(chosen: str, rejected: str) -> tuple[str, str, str]:
    """The prompt that both dialogues share, and their last replies, without white space around.

    The prompt is all before the last Assistant turn: what the human said if that is all, else the
    transcript, which begins with "Human:" and keeps the marks. A prompt of one turn is so the text
    that a round's prompts have too. Raises NotAPair.
    """
    shared, reply = _last_reply(chosen)
    other_shared, other_reply = _last_reply(rejected)
    if shared != other_shared:
        raise NotAPair("the dialogues differ before the last Assistant turn")
    turns = shared.removeprefix(_HUMAN)
    single = _HUMAN not in turns and _ASSISTANT not in turns
    prompt = turns.strip() if single else shared.strip()
    if not turns.strip():
        raise NotAPair("the human says nothing")
    return prompt, reply, other_reply


def _last_reply(dialogue: str) -> tuple[str, str]:
    """All before the last Assistant turn, and what is said in it."""
    text = "\n\n" + dialogue.replace("\r\n", "\n").strip()
    shared, mark, reply = text.rpartition(_ASSISTANT)
    if not mark:
        raise NotAPair('a dialogue has no turn that begins with a blank line and "Assistant:"')
    if _HUMAN in reply:
        raise NotAPair("a dialogue ends with a turn of the human")
    if not shared.startswith(_HUMAN):
        raise NotAPair('a dialogue does not begin with a turn "Human:"')
    return shared.rstrip(), reply.strip()
