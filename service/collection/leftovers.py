"""What killed processes leave beside the artifacts: books of calls, half-written calls and models.

The books of judges stay: no job's end makes them useless.
"""

import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database import Database
from service.tables import CorpusRow, EvaluationRow
from workers.artifacts import ArtifactStore
from workers.base_models import cache_folder
from workers.language_models.call_book import CallBook

_DAY = timedelta(days=1)
_PRODUCTS: dict[str, type[CorpusRow] | type[EvaluationRow]] = {
    "corp_": CorpusRow,
    "evl_": EvaluationRow,
}
_HALF_A_MODEL = (".fetching-*", ".converting-*")


def remove_books(
    database: Database, artifacts: ArtifactStore, before: datetime, *, dry_run: bool
) -> int:
    """Books of corpora and evaluations that are made, whose calls are in the artifact store, or
    that no row has; gives how many. Of a store in a folder alone: on a remote one no folder has an
    age."""
    folder = _calls_folder(artifacts)
    old = [path.name for path in _old(folder.glob("*_*") if folder else (), before)]
    with database.read() as session:
        useless = [book for book in old if _is_useless(session, book)]
    if not dry_run:
        for book in useless:
            CallBook(artifacts, book).forget()
    return len(useless)


def remove_half_written_calls(artifacts: ArtifactStore, before: datetime, *, dry_run: bool) -> int:
    """In the books of all, judges' too; gives how many."""
    folder = _calls_folder(artifacts)
    found = list(_old(folder.glob("*/.partial-*") if folder else (), before))
    if not dry_run:
        for path in found:
            path.unlink(missing_ok=True)
    return len(found)


def remove_half_models(before: datetime, *, dry_run: bool) -> int:
    """Folders in the model cache that a base model was fetched or converted into when the process
    was killed; gives how many. A large model takes hours: none younger than a day goes."""
    before = min(before, datetime.now(UTC) - _DAY)
    found = [path for each in _HALF_A_MODEL for path in _old(cache_folder().glob(each), before)]
    if not dry_run:
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
    return len(found)


def _is_useless(session: Session, book: str) -> bool:
    """A row whose result is there is published with the calls; any other may yet go on."""
    table = next((each for prefix, each in _PRODUCTS.items() if book.startswith(prefix)), None)
    if table is None:
        return False
    row = session.execute(select(table.result).where(table.id == book)).first()
    return row is None or row.result is not None


def _calls_folder(artifacts: ArtifactStore) -> Path | None:
    """None for a remote store."""
    url = artifacts.url.removeprefix("file://")
    return None if "://" in url else Path(url) / "calls"


def _old(paths: Iterable[Path], before: datetime) -> Iterator[Path]:
    """Those whose files, as far as they lie in them directly, are all older, too."""
    for path in paths:
        try:
            last = max(each.stat().st_mtime for each in (path, *path.glob("*")))
        except FileNotFoundError:  # another process has removed it, or a file of it
            continue
        if last < before.timestamp():
            yield path
