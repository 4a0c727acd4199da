"""Routes of files."""

from datetime import UTC, datetime

from fastapi import Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.files import File, FileDeleted
from api_schemas.ids import FileId
from service import quotas
from service.auth import CurrentPrincipal
from service.dependencies import ReadSession, State, WriteSession
from service.downloads import DOWNLOAD_RESPONSES, blob_response
from service.errors import problem_responses
from service.files import deletion, repository
from service.files.upload import UPLOAD_BODY, ReceivedUpload
from service.idempotency import Idempotent
from service.pages import Page
from service.routing import Router

router = Router(prefix="/files", tags=["files"])


@router.post("", status_code=201, summary="Upload a file", openapi_extra=UPLOAD_BODY)
def create_file(
    principal: CurrentPrincipal, upload: ReceivedUpload, idempotent: Idempotent, state: State
) -> File:
    """Stores a file and its sha256; every line, or tensor, is checked first.

    Prompts are JSONL of `prompt`, and `weight` if wanted. Preferences are JSONL, CSV or Parquet of
    `prompt`, `chosen`, `rejected`; of `prompt`, two `responses` and their `votes` (in CSV
    `response_1`, `response_2`, `votes_1`, `votes_2`); or of two dialogues `chosen` and `rejected`
    that differ in the last reply. A file with a line that can't be read is refused with the line's
    number, and nothing of it is kept. Lines of preferences that can be read but not used, such as
    ties, repetitions and empty replies, are counted and listed in `validation`.

    An adapter is a PEFT adapter's safetensors file of finite weights; pickles are refused.

    A document is text or Markdown in UTF-8, or a PDF that holds text: one of scanned pages is
    refused. Questions are JSONL of `question`; question_answers of `question` and `answer`. These
    three the operator alone may upload."""
    described = {
        "purpose": upload.purpose,
        "filename": upload.filename,
        "sha256": upload.sha256,
    }

    def work() -> File:
        quotas.require_file(idempotent.session, state.settings, principal.owner_id, upload.bytes)
        return repository.add_file(idempotent.session, principal, upload, datetime.now(UTC))

    return idempotent.run(described, File, work)


@router.get("", summary="List your files")
def list_files(principal: CurrentPrincipal, session: ReadSession, page: Page) -> ListPage[File]:
    """The files that you uploaded, newest first."""
    return repository.list_files(session, principal, page)


@router.get("/{file_id}", summary="Show a file", responses=problem_responses(404))
def get_file(file_id: FileId, principal: CurrentPrincipal, session: ReadSession) -> File:
    """A file that you uploaded, or the prompts of a round that was announced."""
    return repository.get_file(session, principal, file_id)


@router.get(
    "/{file_id}/content",
    summary="Download a file",
    response_class=Response,
    responses=DOWNLOAD_RESPONSES | problem_responses(404, 416),
)
def get_file_content(
    file_id: FileId,
    request: Request,
    principal: CurrentPrincipal,
    session: ReadSession,
    state: State,
) -> Response:
    """The bytes as they were uploaded. Answers `Range`, `If-Range` and `If-None-Match`."""
    file = repository.get_file(session, principal, file_id)
    return blob_response(request, state.artifacts, file.sha256, file.bytes, file.filename)


@router.delete("/{file_id}", summary="Delete a file", responses=problem_responses(404, 409))
def delete_file(file_id: FileId, principal: CurrentPrincipal, session: WriteSession) -> FileDeleted:
    """Deletes a file of yours and frees its quota; a Conflict while something may need it: a round
    that announced it, a reward model, corpus, base model or evaluation not made yet, any report of
    yours whose round is neither settled nor cancelled."""
    deletion.delete_file(session, principal, file_id)
    return FileDeleted(id=file_id)
