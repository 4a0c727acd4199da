"""Texts as libraries outside Python take them."""

from collections.abc import Iterable


def in_utf8(texts: Iterable[str]) -> list[str]:
    """Lone surrogates, which UTF-8 has not, become "?": RE2 and tokenizers refuse them."""
    return [text.encode("utf-8", "replace").decode() for text in texts]
