"""Commitments to sealed reports, and the Merkle tree that one root commits to all of them.

    commitment = SHA-256(domain ‖ round id ‖ group id ‖ salt ‖ canonical report)

The ids have a fixed length and the salt 32 bytes, so that no two reports share the hashed bytes.
The tree is that of RFC 9162 (Certificate Transparency) §2.1.1 over the sorted commitments: a leaf
is SHA-256(0x00 ‖ commitment), a node SHA-256(0x01 ‖ left ‖ right).
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import rfc8785

from api_schemas.base import Schema
from api_schemas.ids import Sha256

SALT_BYTES = 32
_DOMAIN = b"truthtune/report/v1"
_PREFIX = "sha256:"


class PathStep(Schema):
    """A sibling on the way from a leaf to the root, and on which side of the way it stands."""

    side: Literal["left", "right"]
    hash: Sha256


def commitment(round_id: str, group_id: str, salt: bytes, report: Any) -> str:
    """Of the report's JSON value; raises ValueError unless the salt has 32 bytes."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"the salt has {len(salt)} bytes, not {SALT_BYTES}")
    return _text(
        hashlib.sha256(
            _DOMAIN + round_id.encode() + group_id.encode() + salt + rfc8785.dumps(report)
        ).digest()
    )


def merkle_root(commitments: Sequence[str]) -> str:
    """Of the commitments in any order; raises ValueError for none."""
    root, _ = _tree(_leaves(commitments))
    return _text(root)


def merkle_path(commitments: Sequence[str], own: str) -> list[PathStep]:
    """From `own` to the root, the leaf's sibling first. Raises ValueError if it is not there."""
    paths = merkle_paths(commitments)
    if own not in paths:
        raise ValueError(f"commitment {own!r} is not in list: it has no leaf in the tree")
    return paths[own]


def merkle_paths(commitments: Sequence[str]) -> dict[str, list[PathStep]]:
    """Of every commitment as `merkle_path` has it; the tree is hashed once. Raises ValueError for
    none."""
    _, paths = _tree(_leaves(commitments))
    return dict(zip(sorted(commitments), paths, strict=True))


def root_of_path(own: str, path: Sequence[PathStep]) -> str:
    """The root that the path leads to: the published one, if the commitment is in the tree."""
    node = _leaf(own)
    for step in path:
        sibling = _bytes(step.hash)
        node = _node(sibling, node) if step.side == "left" else _node(node, sibling)
    return _text(node)


def _leaves(commitments: Sequence[str]) -> list[bytes]:
    if not commitments:
        raise ValueError("there is no tree of no commitments")
    return [_leaf(each) for each in sorted(commitments)]


def _tree(leaves: Sequence[bytes]) -> tuple[bytes, list[list[PathStep]]]:
    """The root, and each leaf's path to it."""
    if len(leaves) == 1:
        return leaves[0], [[]]
    split = _split(len(leaves))
    left, lefts = _tree(leaves[:split])
    right, rights = _tree(leaves[split:])
    to_right = PathStep(side="right", hash=_text(right))
    to_left = PathStep(side="left", hash=_text(left))
    paths = [[*path, to_right] for path in lefts] + [[*path, to_left] for path in rights]
    return _node(left, right), paths


def _split(leaves: int) -> int:
    """The largest power of two below the number of leaves."""
    return 1 << (leaves - 1).bit_length() - 1


def _leaf(own: str) -> bytes:
    return hashlib.sha256(b"\x00" + _bytes(own)).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _text(digest: bytes) -> str:
    return _PREFIX + digest.hex()


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix(_PREFIX))
