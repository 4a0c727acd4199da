"""Where questions with answers come from: a corpus, or an uploaded file."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from api_schemas.errors import InvalidInput
from service.auth import Principal
from service.corpora import repository
from service.files import repository as files


@dataclass(frozen=True)
class Lines:
    """Digests of JSONL with `question` and `answer`. A file holds nothing out by itself."""

    lines: str
    holdout: str | None
    count: int


def find_lines(
    session: Session, principal: Principal, corpus_id: str | None, file_id: str | None
) -> Lines:
    """Of the one that is given. Raises NotFound, Conflict for a corpus that is not made yet, and
    InvalidInput (`corpus_id`, `file_id`) for one without any line held out, or another file."""
    if corpus_id is not None:
        found = repository.get_result(session, corpus_id, "corpus_id")
        if not (found.lines and found.holdout_lines):
            raise InvalidInput(
                f"corpus {corpus_id} has {found.lines} lines to train on and {found.holdout_lines} "
                "held out: it needs some of both",
                param="corpus_id",
            )
        return Lines(found.lines_sha256, found.holdout_sha256, found.lines)
    assert file_id is not None, "the request's schema asks for one of them"
    file = files.get_own_file(session, principal, file_id, "question_answers", "file_id")
    return Lines(file.sha256, None, file.lines or 0)
