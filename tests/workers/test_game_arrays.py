"""`truthtune solve` on games whose rewards are in .npy files beside them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from solve_support import candidates_game, pool_game, refusal, solved, written


def array_game(folder: Path, dtype: str = "<f8", regularizer: str = "kl") -> dict[str, Any]:
    """A game of 3 prompts, 2 groups and 4 responses with its arrays written to the folder."""
    rng = np.random.default_rng(11)
    rewards_XNJ = rng.integers(0, 65, (3, 2, 4)) / 64  # exact in every format of floats
    rewards_XNJ[1, :, 2] = 1.0
    np.save(folder / "rewards.npy", rewards_XNJ.astype(dtype))
    np.save(folder / "base.npy", np.array([[1, 2, 4, 1], [2, 2, 2, 2], [5, 1, 1, 1]]) / 8)
    np.save(folder / "weights.npy", np.array([0.25, 0.5, 0.25]))
    return {
        "kind": "pool",
        "regularizer": regularizer,
        f"{regularizer}_coefficient": 2.0,
        "sizes": [3, 5],
        "arrays": {"rewards": "rewards.npy", "base": "base.npy", "weights": "weights.npy"},
    }


def as_prompts(folder: Path, game: dict[str, Any]) -> dict[str, Any]:
    names = ("weights", "base", "rewards")
    columns = [np.load(folder / f"{name}.npy").astype(float).tolist() for name in names]
    prompts = [
        {"weight": weight, "base": base, "rewards": rewards}
        for weight, base, rewards in zip(*columns, strict=True)
    ]
    rest = {key: value for key, value in game.items() if key != "arrays"}
    return rest | {"prompts": prompts}


@pytest.mark.parametrize("dtype", ["<f8", "<f4", "<f2", ">f4"])
@pytest.mark.parametrize("regularizer", ["kl", "l2"])
@pytest.mark.parametrize("rule", ["affine_maximizer", "revenue_maximizing"])
def test_arrays_on_disk_give_the_outcome_of_the_same_numbers_in_the_game(
    dtype: str, regularizer: str, rule: str, tmp_path: Path
) -> None:
    game = array_game(tmp_path, dtype, regularizer)
    policies = tmp_path / "policies.npy"
    options = ("--payment-rule", rule)
    path = written(tmp_path, game)
    found = solved(path, *options, "--policies", str(policies))
    expected = solved(written(tmp_path, as_prompts(tmp_path, game)), *options)
    np.testing.assert_array_equal(np.load(policies), expected.pop("policies"))
    assert found == expected


def test_without_base_and_weights_both_are_uniform(tmp_path: Path) -> None:
    game = array_game(tmp_path)
    np.save(tmp_path / "base.npy", np.full((3, 4), 0.25))
    np.save(tmp_path / "weights.npy", np.full(3, 1 / 3))
    expected = solved(written(tmp_path, game))
    del game["arrays"]["base"], game["arrays"]["weights"]
    assert solved(written(tmp_path, game)) == expected


def bytes_of(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


GOOD_REWARDS = np.full((3, 2, 4), 0.5)
OUTSIDE, MISSING = GOOD_REWARDS.copy(), GOOD_REWARDS.copy()
OUTSIDE[2, 1, 3], MISSING[0, 1, 0] = 1.25, np.nan


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("rewards", b"", "is not a .npy file"),
        ("rewards", b"PK\x03\x04", "is not a .npy file"),
        ("rewards", b"\x93NUMPY\x01\x00\x10\x00{'descr': (((  ", "is not a .npy file"),
        ("rewards", b"\x93NUMPY\x09\x00\x10\x00", "is not a .npy file"),
        ("rewards", bytes_of(GOOD_REWARDS)[:-1], "is 319 bytes long, its header says 320"),
        ("rewards", bytes_of(GOOD_REWARDS) + b"\0", "is 321 bytes long, its header says 320"),
        ("rewards", bytes_of(GOOD_REWARDS[0]), "has shape (2, 4), expected 3 positive lengths"),
        ("rewards", bytes_of(GOOD_REWARDS[:, :1]), "expected 2 groups as in sizes"),
        ("rewards", bytes_of(GOOD_REWARDS[:0]), "has shape (0, 2, 4)"),
        ("rewards", bytes_of(GOOD_REWARDS.astype(int)), "holds int64, expected float16"),
        ("rewards", bytes_of(np.asfortranarray(GOOD_REWARDS)), "is in Fortran order"),
        ("rewards", bytes_of(OUTSIDE), "arrays.rewards[2][1][3]: 1.25 is outside [0, 1]"),
        ("rewards", bytes_of(MISSING), "arrays.rewards[0][1][0]: nan is outside [0, 1]"),
        ("base", bytes_of(np.full((3, 5), 0.2)), "has shape (3, 5), expected (3, 4)"),
        ("base", bytes_of(np.full((3, 4), 0.3)), "arrays.base[0]: the sum is 1.2, expected 1"),
        ("base", bytes_of(np.eye(3, 4)), "arrays.base[0][1]: 0.0 is not a positive probability"),
        ("weights", bytes_of(np.full(2, 0.5)), "has shape (2,), expected (3,)"),
        ("weights", bytes_of(np.full(3, 0.5)), "arrays.weights: the sum is 1.5, expected 1"),
        ("weights", bytes_of(np.array([2.0, -1, 0])), "arrays.weights[1]: -1.0 is not a weight"),
    ],
)
def test_a_bad_array_is_refused_with_its_place(
    name: str, content: bytes, line: str, tmp_path: Path
) -> None:
    path = written(tmp_path, array_game(tmp_path))
    (tmp_path / f"{name}.npy").write_bytes(content)
    found = refusal(path, "--out", tmp_path / "out.json", "--policies", tmp_path / "policies.npy")
    assert f"truthtune: arrays.{name}" in found
    assert line in found


def test_an_array_that_holds_python_objects_is_never_unpickled(tmp_path: Path) -> None:
    path = written(tmp_path, array_game(tmp_path))
    np.save(tmp_path / "rewards.npy", np.array([[[print]]], dtype=object), allow_pickle=True)
    assert "holds object, expected float16" in refusal(path)


def test_bad_names_of_arrays_are_refused(tmp_path: Path) -> None:
    game = array_game(tmp_path)
    for change, line in [
        ({"rewards": "absent.npy"}, 'arrays.rewards: "absent.npy" can\'t be opened: No such file'),
        ({"rewards": "bad\0name"}, "arrays.rewards: "),
        ({"rewards": 7}, "arrays.rewards: 7 is not the name of a .npy file"),
        ({"weight": "weights.npy"}, "arrays.weight: unknown"),
    ]:
        path = written(tmp_path, game | {"arrays": game["arrays"] | change})
        assert line in refusal(path)
    assert "arrays.rewards: missing" in refusal(written(tmp_path, game | {"arrays": {}}))


def test_policies_go_to_a_file_only_where_the_outcome_leaves_them_out(tmp_path: Path) -> None:
    to_file = ("--policies", tmp_path / "policies.npy")
    assert "prompts: " in refusal(written(tmp_path, pool_game()), *to_file)
    assert "kind: " in refusal(written(tmp_path, candidates_game()), *to_file)
