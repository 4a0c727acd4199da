"""Artifact stores that are no folder: S3 by Arrow, others by their packages for fsspec."""

from typing import Any


def remote_filesystem(url: str) -> tuple[Any, str]:
    """A file system with fsspec's methods, and the path in it that `url` names.

    S3 goes through Arrow, for so does Ray Train with its checkpoints: one client, one set of
    credentials, from the environment as Amazon's own programs take them (`AWS_ACCESS_KEY_ID`,
    `AWS_SHARED_CREDENTIALS_FILE`, `AWS_REGION`, …); `AWS_ENDPOINT_URL` names another store of the
    same protocol.
    """
    import fsspec  # type: ignore[import-untyped]

    if not url.startswith("s3://"):
        filesystem, path = fsspec.core.url_to_fs(url)
        return filesystem, path
    from fsspec.implementations.arrow import ArrowFSWrapper  # type: ignore[import-untyped]
    from pyarrow.fs import FileSystem

    store, path = FileSystem.from_uri(url)
    return ArrowFSWrapper(store), path
