"""Blobs of the artifact store over HTTP: streamed, resumable, with their sha256 in the headers."""

import base64
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api_schemas.errors import TruthtuneError
from service.zero_copy import EXTENSION
from workers.artifacts import ArtifactStore

_CHUNK_BYTES = 1 << 18
_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

DOWNLOAD_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The bytes; `ETag` and `Repr-Digest` carry their sha256.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    206: {"description": "The bytes of the `Range` asked for."},
    304: {"description": "The `ETag` of `If-None-Match` is still the one."},
}


class RangeNotSatisfiable(TruthtuneError):
    """The range begins behind the last byte (416)."""

    status = 416
    code = "range_not_satisfiable"


DRAWING_RESPONSES: dict[int | str, dict[str, Any]] = DOWNLOAD_RESPONSES | {
    200: {
        "description": "The drawing; `ETag` and `Repr-Digest` carry its sha256.",
        "content": {"image/svg+xml": {"schema": {"type": "string"}}},
    }
}

_JSON_LINES = "application/jsonl"
JSON_LINES_RESPONSES: dict[int | str, dict[str, Any]] = DOWNLOAD_RESPONSES | {
    200: {
        "description": "JSON lines; `ETag` and `Repr-Digest` carry their sha256.",
        "content": {_JSON_LINES: {"schema": {"type": "string"}}},
    }
}


def drawing_response(
    request: Request, artifacts: ArtifactStore, digest: str, filename: str
) -> Response:
    """The SVG `digest`, for a browser to show; in it nothing runs, and nothing is fetched."""
    response = stored_response(
        request, artifacts, digest, filename, media_type="image/svg+xml", disposition="inline"
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    response.headers["Content-Security-Policy"] = policy
    return response


def lines_response(
    request: Request, artifacts: ArtifactStore, digest: str, filename: str
) -> Response:
    """The JSON lines `digest`."""
    return stored_response(request, artifacts, digest, filename, media_type=_JSON_LINES)


def stored_response(
    request: Request,
    artifacts: ArtifactStore,
    digest: str,
    filename: str,
    *,
    media_type: str = "application/octet-stream",
    disposition: str = "attachment",
) -> Response:
    """Like `blob_response`, of a blob whose size no row tells."""
    with artifacts.open(digest) as blob:
        size = blob.seek(0, os.SEEK_END)
    return blob_response(
        request,
        artifacts,
        digest,
        size,
        filename,
        media_type=media_type,
        disposition=disposition,
    )


def blob_response(
    request: Request,
    artifacts: ArtifactStore,
    digest: str,
    size: int,
    filename: str,
    *,
    media_type: str = "application/octet-stream",
    disposition: str = "attachment",
) -> Response:
    """The blob `digest` of `size` bytes; answers If-None-Match, and one Range with If-Range.

    Raises RangeNotSatisfiable. A Range of another form is ignored, as RFC 9110 allows.
    """
    etag = f'"{digest}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"{disposition}; filename*=utf-8''{quote(filename, safe='')}",
        "Repr-Digest": f"sha-256=:{_base64(digest)}:",
        # What is uploaded must never run in a browser on the service's origin.
        "X-Content-Type-Options": "nosniff",
    }
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    start, end, status = 0, size, 200
    asked = request.headers.get("range", "")
    if asked and request.headers.get("if-range", etag) == etag:
        found = _parse_range(asked, size)
        if found is not None:
            start, end, status = *found, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    return _BlobResponse(artifacts.open(digest), start, end, status, headers, media_type)


class _BlobResponse(Response):
    """The bytes from `start` to before `end`: of a file by zero copy where the server offers it,
    else in chunks."""

    def __init__(
        self,
        blob: BinaryIO,
        start: int,
        end: int,
        status: int,
        headers: dict[str, str],
        media_type: str,
    ):
        super().__init__(None, status, headers, media_type)
        self._blob, self._start, self._end = blob, start, end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._blob:
            if EXTENSION not in scope.get("extensions", {}) or not _is_file(self._blob):
                chunks = _chunks(self._blob, self._start, self._end)
                streamed = StreamingResponse(chunks, self.status_code)
                streamed.raw_headers = self.raw_headers
                await streamed(scope, receive, send)
                return
            start = {"type": "http.response.start", "status": self.status_code}
            await send(start | {"headers": self.raw_headers})
            part = {"offset": self._start, "count": self._end - self._start}
            await send({"type": EXTENSION, "file": self._blob, "more_body": False} | part)


def _is_file(blob: BinaryIO) -> bool:
    """Not so of a remote store's."""
    try:
        blob.fileno()
    except (OSError, AttributeError):
        return False
    return True


def _parse_range(asked: str, size: int) -> tuple[int, int] | None:
    """First byte and the byte behind the last; None for a form that is not answered."""
    match = _ONE_RANGE.fullmatch(asked.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":  # the last so many bytes
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise RangeNotSatisfiable(
            f"Range {asked!r} begins behind the {size} bytes there are", param="Range"
        )
    return start, end


def _chunks(blob: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    blob.seek(start)
    left = end - start
    while left > 0:
        chunk = blob.read(min(_CHUNK_BYTES, left))
        if not chunk:
            raise OSError("the blob is shorter than its record says")
        left -= len(chunk)
        yield chunk


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest.removeprefix("sha256:"))).decode()
