"""Artifacts on S3: Arrow's client behind the same contract as a folder."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

import workers.artifacts
from api_schemas.errors import NotFound
from workers.artifacts import ArtifactStore
from workers.remote_stores import remote_filesystem


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    """What a bucket is to Arrow, a folder is here."""
    bucket = ArrowFSWrapper(SubTreeFileSystem(str(tmp_path), LocalFileSystem()))
    monkeypatch.setattr(workers.artifacts, "remote_filesystem", lambda _url: (bucket, "bucket/a"))
    return ArtifactStore("s3://bucket/a")


def test_s3_is_arrows_with_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    filesystem, path = remote_filesystem("s3://bucket/some/artifacts")
    assert filesystem.fs.type_name == "s3"
    assert filesystem.fs.region == "us-east-1"
    assert path == "bucket/some/artifacts"


def test_what_is_put_is_there_whole_and_can_be_read_from_anywhere(store: ArtifactStore) -> None:
    digest = store.put_stream([b"one", b" and ", b"two"])
    assert store.exists(digest)
    assert store.get(digest) == b"one and two"
    with store.open(digest) as blob:
        assert blob.seek(0, 2) == 11
        blob.seek(4)
        assert blob.read(3) == b"and"


def test_lines_are_read_as_from_a_folder(store: ArtifactStore) -> None:
    with store.open(store.put(b"one\ntwo\n")) as blob:
        assert list(blob) == [b"one\n", b"two\n"]


def test_what_is_not_there_is_not_found(store: ArtifactStore) -> None:
    absent = f"sha256:{64 * '0'}"
    assert not store.exists(absent)
    with pytest.raises(NotFound):
        store.get(absent)


def test_blobs_are_listed_with_their_age_and_only_old_ones_are_removed(
    store: ArtifactStore,
) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    digest = store.put(b"12345")
    (blob,) = store.blobs()
    assert (blob.digest, blob.bytes) == (digest, 5)
    assert before < blob.modified < datetime.now(UTC) + timedelta(seconds=2)
    assert not store.remove(digest, before)
    assert store.remove(digest, datetime.now(UTC) + timedelta(hours=1))
    assert not store.exists(digest)
