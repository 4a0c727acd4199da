"""The tree of commitments against another way to build it, level by level (RFC 9162 §2.1)."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.commitments import PathStep, commitment, merkle_path, merkle_root, root_of_path

DIGESTS = st.binary(min_size=32, max_size=32).map(lambda data: f"sha256:{data.hex()}")
TREES = st.lists(DIGESTS, min_size=1, max_size=40, unique=True)


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def levels(commitments: list[str]) -> list[list[bytes]]:
    """From the leaves to the root; the last of an odd level moves up as it is."""
    leaves = [
        hashlib.sha256(b"\x00" + bytes.fromhex(each[7:])).digest() for each in sorted(commitments)
    ]
    found = [leaves]
    while len(found[-1]) > 1:
        below = found[-1]
        above = [node(*pair) for pair in zip(below[::2], below[1::2], strict=False)]
        found.append(above + below[len(above) * 2 :])
    return found


def path_by_levels(commitments: list[str], own: str) -> list[tuple[str, str]]:
    place, found = sorted(commitments).index(own), []
    for level in levels(commitments)[:-1]:
        beside = place ^ 1
        if beside < len(level):
            side = "right" if beside > place else "left"
            found.append((side, f"sha256:{level[beside].hex()}"))
        place //= 2
    return found


@settings(max_examples=300, deadline=None)
@given(TREES, st.randoms(use_true_random=False))
def test_roots_and_paths_are_those_of_the_other_construction(
    commitments: list[str], order: object
) -> None:
    root = f"sha256:{levels(commitments)[-1][0].hex()}"
    shuffled = list(commitments)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merkle_root(shuffled) == root
    for own in commitments:
        path = merkle_path(shuffled, own)
        assert [(step.side, step.hash) for step in path] == path_by_levels(commitments, own)
        assert root_of_path(own, path) == root


@settings(max_examples=200, deadline=None)
@given(TREES, DIGESTS, st.data())
def test_another_commitment_has_no_path_to_the_root(
    commitments: list[str], stranger: str, data: st.DataObject
) -> None:
    """Neither a stranger's, nor another member's by this one's path."""
    own = data.draw(st.sampled_from(commitments))
    path, root = merkle_path(commitments, own), merkle_root(commitments)
    for other in {stranger, *commitments} - {own}:
        assert root_of_path(other, path) != root


@settings(max_examples=200, deadline=None)
@given(TREES, st.data())
def test_a_changed_path_leads_elsewhere(commitments: list[str], data: st.DataObject) -> None:
    own = data.draw(st.sampled_from(commitments))
    path, root = merkle_path(commitments, own), merkle_root(commitments)
    for place, step in enumerate(path):
        turned = PathStep(side="left" if step.side == "right" else "right", hash=step.hash)
        other = PathStep(side=step.side, hash="sha256:" + "0" * 64)
        for wrong in (
            [*path[:place], turned, *path[place + 1 :]],
            [*path[:place], other, *path[place + 1 :]],
            [*path[:place], *path[place + 1 :]],
            [*path[:place], step, *path[place:]],
        ):
            assert root_of_path(own, wrong) != root


@settings(max_examples=200, deadline=None)
@given(st.lists(DIGESTS, min_size=2, max_size=40, unique=True), st.data())
def test_an_inner_node_is_no_leaf(commitments: list[str], data: st.DataObject) -> None:
    """Nor is what is hashed for one: leaves and nodes are hashed with different first bytes."""
    own, root = data.draw(st.sampled_from(commitments)), merkle_root(commitments)
    path = merkle_path(commitments, own)
    for height in range(len(path) + 1):
        inner = root_of_path(own, path[:height])
        assert root_of_path(inner, path[height:]) != root


def test_there_is_no_tree_of_nothing_and_no_path_of_a_stranger() -> None:
    with pytest.raises(ValueError, match="no tree"):
        merkle_root([])
    with pytest.raises(ValueError, match="not in list"):
        merkle_path(["sha256:" + "0" * 64], "sha256:" + "1" * 64)


def test_a_commitment_is_to_every_part_of_a_report() -> None:
    """The preimage written out: domain, ids, salt and canonical JSON, in this order."""
    round_id, group_id, salt = "rnd_" + "a" * 26, "grp_" + "b" * 26, bytes(range(32))
    report = {"size": 7, "reward_model": {"type": "lexical", "weight": 1.0}}
    written = b'{"reward_model":{"type":"lexical","weight":1},"size":7}'
    preimage = b"truthtune/report/v1" + f"{round_id}{group_id}".encode() + salt + written
    own = commitment(round_id, group_id, salt, report)
    assert own == f"sha256:{hashlib.sha256(preimage).hexdigest()}"
    others = [
        commitment("rnd_" + "c" * 26, group_id, salt, report),
        commitment(round_id, "grp_" + "c" * 26, salt, report),
        commitment(round_id, group_id, bytes(32), report),
        commitment(round_id, group_id, salt, report | {"size": 8}),
    ]
    assert len({own, *others}) == 5
    with pytest.raises(ValueError, match="31 bytes, not 32"):
        commitment(round_id, group_id, salt[:31], report)
