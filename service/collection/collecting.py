"""Mark and sweep over the artifact store, while the service runs.

First the store is listed, then the rows are read: what is put after the listing is not in it, and
what was listed is removed only if no row names it, it is older than the grace, and nobody has put
it again meanwhile. The grace covers what is stored and not named yet: uploads before their row, and
results of a stage in hand, however long that takes.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from service.collection.leftovers import remove_books, remove_half_written_calls
from service.collection.names import named_by_artifacts, named_by_rows, oldest_work
from service.database import Database
from service.vault import Vault
from workers.artifacts import ArtifactStore


@dataclass(frozen=True)
class Collected:
    """Numbers of artifacts, and the bytes of those that went, or would go; of half-written files,
    and of books of calls."""

    named: int
    young: int
    removed: int
    removed_bytes: int
    partials: int
    books: int


def collect(
    database: Database,
    vault: Vault,
    artifacts: ArtifactStore,
    grace: timedelta,
    *,
    dry_run: bool,
    now: datetime | None = None,
) -> Collected:
    """Remove what nothing names and what killed processes left half-written.

    Raises DamagedSeal, having removed nothing, if a report can't be opened to see what it names.
    """
    listed = list(artifacts.blobs())
    with database.read() as session:
        roots = named_by_rows(session, vault)
        working_since = oldest_work(session)
    before = (now or datetime.now(UTC)) - grace
    if working_since is not None:
        before = min(before, working_since)
    # What is young may be about to be named, and names others in its turn.
    young = {blob.digest for blob in listed if blob.modified >= before}
    named = named_by_artifacts(artifacts, roots)
    kept = named | named_by_artifacts(artifacts, young - named)
    garbage = [blob for blob in listed if blob.digest not in kept]
    if not dry_run:
        garbage = [blob for blob in garbage if artifacts.remove(blob.digest, before)]
    return Collected(
        named=sum(blob.digest in named for blob in listed),
        young=sum(blob.digest in kept and blob.digest not in named for blob in listed),
        removed=len(garbage),
        removed_bytes=sum(blob.bytes for blob in garbage),
        partials=artifacts.remove_partials(before, dry_run=dry_run)
        + remove_half_written_calls(artifacts, before, dry_run=dry_run),
        books=remove_books(database, artifacts, before, dry_run=dry_run),
    )
