"""Base models made here: fetched whole from the artifact store by name and revision, or not."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api_schemas.errors import InvalidInput, NotFound, TruthtuneError
from workers import base_models, cluster, own_base_models, tiny_model
from workers.artifacts import ArtifactStore
from workers.model_size import weight_count
from workers.ray_runner import task_context
from workers.room import Room, known_to_all

NAME = "bm_" + "a" * 26


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "artifacts"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine's own cache of models, and a process that has no store yet."""
    monkeypatch.setenv("TRUTHTUNE_MODEL_CACHE", str(tmp_path / "models"))
    monkeypatch.setattr(own_base_models, "_store", None)
    yield tmp_path / "models"
    base_models.load.cache_clear()


def published(store: ArtifactStore) -> str:
    """The tiny model as a base model made here; its revision."""
    files = base_models.model_files(tiny_model.NAME, base_models.prepare(tiny_model.NAME))
    for file in files:
        store.put(file.read_bytes())
    return store.put(base_models.listing(files).encode())


def test_a_model_is_materialised_whole_and_is_found_by_its_name(
    store: ArtifactStore, cache: Path
) -> None:
    """The list of the files is what the revision digests: the tiny model's own revision."""
    revision = published(store)
    assert revision == base_models.resolve(tiny_model.NAME).revision
    folder = own_base_models.materialise(store, NAME, revision)
    assert folder == cache / NAME == base_models.source_of(NAME)
    assert base_models.resolve_pinned(NAME, revision).revision == revision
    base = base_models.load_own(NAME, revision, "cpu", base_models.dtype_on("cpu"))
    assert base.prompt_tokens("red sun") == [1, 4]
    assert not list(cache.glob(".fetching-*"))


def test_a_model_that_is_not_here_is_refused_with_the_place_where_it_belongs(cache: Path) -> None:
    with pytest.raises(InvalidInput, match=str(cache / NAME)) as caught:
        base_models.resolve(NAME)
    assert (caught.value.code, caught.value.param) == ("unknown_base_model", "base_model")


def test_a_name_that_is_not_one_of_ours_never_becomes_a_folder(store: ArtifactStore) -> None:
    for name in ("../" + NAME, NAME + "/x", "bm_short", tiny_model.NAME):
        with pytest.raises(InvalidInput, match="was not made here"):
            own_base_models.materialise(store, name, published(store))


def test_a_damaged_or_missing_artifact_is_refused_and_leaves_no_folder(
    store: ArtifactStore, cache: Path
) -> None:
    revision = published(store)
    digest = own_base_models.files_of(store, revision)["model.safetensors"]
    blob = next(Path(store.url).glob(f"*/{digest.removeprefix('sha256:')}"))
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "model.safetensors" in refusal(store, revision)
    assert "is damaged: its bytes hash to" in refusal(store, revision)
    blob.unlink()
    assert "lacks its file model.safetensors" in refusal(store, revision)
    assert [path.name for path in cache.iterdir()] == [base_models.prepare(tiny_model.NAME).name]
    assert "the list of its files" in refusal(store, "sha256:" + "0" * 64)
    assert "is no list" in refusal(store, store.put(b"../../secret " + b"0" * 64 + b"\n"))


def refusal(store: ArtifactStore, revision: str) -> str:
    with pytest.raises(TruthtuneError) as caught:
        own_base_models.materialise(store, NAME, revision)
    assert caught.value.code == "base_model_damaged"
    return caught.value.message


def test_a_folder_of_another_revision_is_not_loaded(store: ArtifactStore, cache: Path) -> None:
    revision = published(store)
    config = own_base_models.materialise(store, NAME, revision) / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(InvalidInput) as caught:
        base_models.resolve_pinned(NAME, revision)
    assert caught.value.code == "base_model_changed"


def test_processes_that_race_for_a_model_all_get_it(
    store: ArtifactStore, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All fetch everything before the first renames; the others then find it there."""
    from threading import Barrier

    revision, together, fetch = published(store), Barrier(4, timeout=60), own_base_models._fetch

    def fetch_and_wait(*arguments: Any) -> None:
        fetch(*arguments)
        together.wait()

    monkeypatch.setattr(own_base_models, "_fetch", fetch_and_wait)
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda _: own_base_models.materialise(store, NAME, revision), range(4))
        )
    assert found == [cache / NAME] * 4
    assert base_models.resolve(NAME).revision == revision
    assert [path.name for path in cache.glob("*bm_*")] == [NAME]
    assert not list(cache.glob(".fetching-*"))


def test_a_task_on_another_machine_fetches_the_model_when_it_loads_it(
    tiny_round: Callable[..., Any], cache: Path
) -> None:
    """Pool of a round on a model made here is the pool of the model that it is a copy of."""
    plain = tiny_round(pool={"method": "sample", "samples_per_prompt": 4})
    plain.run("fit_rewards", "sample_pool")
    revision = published(plain.artifacts)
    own = tiny_round(
        pool={"method": "sample", "samples_per_prompt": 4},
        base_model=NAME,
        base_model_revision=revision,
    )
    task_context(own.job, own.artifacts.url, board=None)  # as every task on a cluster begins
    assert not (cache / NAME).exists()
    own.run("fit_rewards", "sample_pool")
    assert (cache / NAME).is_dir()
    assert own.digests["sample_pool"] == plain.digests["sample_pool"]


def test_a_node_that_has_yet_to_fetch_a_model_is_measured_against_it_all_the_same() -> None:
    node = Room("one", 8, 0, 1, (), {"mine": None, "theirs": 5})
    assert known_to_all([node], {"mine": 7, "theirs": None}) == [
        replace(node, weights={"mine": 7, "theirs": 5})
    ]


@pytest.mark.parametrize("address", [None, "head:6379"])
def test_a_model_made_here_is_measured_before_the_first_stage_of_its_round(
    tiny_round: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    """On a cluster, too, none of whose nodes has fetched it yet."""
    made = tiny_round()
    rules = {"base_model": NAME, "base_model_revision": published(made.artifacts)}
    job = made.job.model_copy(
        update={"announcement": made.job.announcement.model_copy(update=rules)}
    )
    node = Room("one", 2, 0, None, (), {NAME: None})
    measured: list[Any] = []
    monkeypatch.setattr(cluster.ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(cluster, "cluster_rooms", lambda names: [node])
    monkeypatch.setattr(cluster, "require_room", lambda rooms, *_, **__: measured.extend(rooms))
    cluster.Cluster(made.artifacts.url, ray_address=address)._require_room(job)
    assert [room.weights for room in measured] == [{NAME: weight_count(tiny_model.NAME)}]


def test_only_a_list_of_files_is_read_as_one() -> None:
    line = b"model.safetensors " + b"0" * 64 + b"\n"
    assert own_base_models.listed_files(line) == {"model.safetensors": "sha256:" + "0" * 64}
    for text in (b"", b"{}", line + b"x\n", line + line, b".hidden " + b"0" * 64, b"\xff\x00"):
        assert own_base_models.listed_files(text) is None


def test_the_store_is_asked_for_no_other_model(store: ArtifactStore) -> None:
    own_base_models.fetch_from(store)
    own_base_models.fetch_if_absent(tiny_model.NAME, "sha256:" + "0" * 64)
    with pytest.raises((NotFound, TruthtuneError)):
        own_base_models.fetch_if_absent(NAME, "sha256:" + "0" * 64)
