"""Receiving a file: read as a stream, checked, and in the artifact store before any transaction."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO, get_args

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from api_schemas.datasets import DataValidation
from api_schemas.errors import Forbidden, InvalidInput, TooLarge
from api_schemas.files import FilePurpose
from service.auth import CurrentPrincipal, Principal
from service.dependencies import AppState, State
from service.files.validation import check_content

_CHUNK_BYTES = 1 << 20
_MAX_FILENAME = 255
_FIELDS = {"file", "purpose"}
_OPERATORS_PURPOSES = frozenset({"document", "questions", "question_answers"})
"""Of what the operator's routes alone take. Reading a document takes computing and memory, which a
group could use to keep its rivals out before a round closes."""

UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": sorted(_FIELDS),
                    "additionalProperties": False,
                    "properties": {
                        "purpose": {
                            "type": "string",
                            "enum": list(get_args(FilePurpose)),
                            "examples": ["prompts"],
                        },
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "examples": ['{"prompt": "How do I reset my password?"}\n'],
                        },
                    },
                }
            }
        },
    }
}
"""The request body for the API's document: the stream is read here, not by FastAPI."""


@dataclass(frozen=True)
class Upload:
    """A file whose bytes are stored, and whose row is yet to be written."""

    purpose: FilePurpose
    filename: str
    bytes: int
    lines: int | None
    validation: DataValidation | None
    sha256: str


async def _received_upload(request: Request, principal: CurrentPrincipal, state: State) -> Upload:
    """Runs after the key was checked and before the write transaction begins: a slow upload must
    hold up nobody, and an upload without a key is not read."""
    form = await _read_form(request)
    try:
        return await run_in_threadpool(_check_and_store, form, principal, state)
    finally:
        await form.close()


ReceivedUpload = Annotated[Upload, Depends(_received_upload)]


async def _read_form(request: Request) -> FormData:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidInput("send the file as multipart/form-data with the fields file and purpose")
    parser = MultiPartParser(
        request.headers, request.stream(), max_files=1, max_fields=len(_FIELDS)
    )
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise InvalidInput(f"the multipart body can't be read: {error.message}") from None


def _check_and_store(form: FormData, principal: Principal, state: AppState) -> Upload:
    file, purpose = _fields(form)
    _require_allowed(purpose, principal)
    size, limit = file.size or 0, state.settings.max_upload_bytes
    if size > limit:
        raise TooLarge(
            f"the file has {size} bytes, the limit is {limit} (TRUTHTUNE_MAX_UPLOAD_BYTES)",
            param="file",
        )
    filename = _filename(file)
    content = check_content(purpose, file.file, size, filename)
    file.file.seek(0)
    digest = state.artifacts.put_stream(_chunks(file.file))
    return Upload(purpose, filename, size, content.lines, content.validation, digest)


def _fields(form: FormData) -> tuple[UploadFile, FilePurpose]:
    if unknown := sorted(set(form) - _FIELDS):
        raise InvalidInput(f"there is no field {unknown[0]!r}", param=unknown[0])
    file, purpose = form.get("file"), form.get("purpose")
    if not isinstance(file, UploadFile) or len(form.getlist("file")) > 1:
        raise InvalidInput("the field file must be one file with a file name", param="file")
    for known in get_args(FilePurpose):
        if form.getlist("purpose") == [known]:
            return file, known
    raise InvalidInput(
        f"purpose must be one of {', '.join(get_args(FilePurpose))}, not {purpose!r}",
        param="purpose",
    )


def _require_allowed(purpose: FilePurpose, principal: Principal) -> None:
    if purpose in _OPERATORS_PURPOSES and not principal.is_operator:
        raise Forbidden(
            f"a file of the purpose {purpose} needs a key of the operator; the key sent belongs "
            "to a group",
            param="purpose",
        )


def _filename(file: UploadFile) -> str:
    """The last part of the name: some browsers send the whole path."""
    name = (file.filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    if name in ("", ".", "..") or len(name) > _MAX_FILENAME or not name.isprintable():
        raise InvalidInput(
            f"the file needs a name of 1 to {_MAX_FILENAME} printable characters, "
            f"not {name[:_MAX_FILENAME]!r}",
            param="file",
        )
    return name


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
