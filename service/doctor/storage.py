"""Disks: can artifacts be stored, and is there room?"""

import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from service.doctor.findings import Installation, Verdict, ok, warning, wrong
from workers.artifacts import ArtifactStore
from workers.base_models import cache_folder

_PROBE = b"written by `truthtune doctor` to see whether it can be"
_MIB, _GIB = 2**20, 2**30
_MAKE_ROOM = "truthtune artifacts collect (removes what nothing names), or a larger disk"


def artifacts(subject: Installation) -> Verdict:
    """Something is written as artifacts are, read, and removed again."""
    url = subject.settings.resolved_artifacts_url
    remedy = "make that writable, or set TRUTHTUNE_ARTIFACTS_URL to a folder or URL that is"
    folder = _local_folder(url)
    try:
        if folder is None:
            return _remote_artifacts(url)
        if not folder.exists():
            parent = nearest_folder(folder)
            if parent is None:
                return wrong(f"{folder} can't be made: what is above it is no folder", remedy)
            folder = parent
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(_PROBE)
            file.flush()
            os.fsync(file.fileno())
    except Exception as error:  # each kind of remote store raises errors of its own
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        return wrong(f"{url} can't be written: {reason}", remedy)
    return ok(f"{url} can be written")


def disk(subject: Installation) -> Verdict:
    """Room on every disk of this machine that the service writes to."""
    places = [subject.settings.home, cache_folder()]
    if (folder := _local_folder(subject.settings.resolved_artifacts_url)) is not None:
        places.append(folder)
    free, place = min((shutil.disk_usage(_existing(place)).free, place) for place in places)
    least, comfortable = subject.settings.max_upload_bytes, subject.settings.quota_file_bytes
    message = f"{free / _GIB:.1f} GiB free for {place}"
    if free < least:
        return wrong(f"{message}, not enough for one upload of {least / _MIB:g} MiB", _MAKE_ROOM)
    if free < comfortable:
        told = f"{message}, less than one owner's quota of files, {comfortable / _GIB:.3g} GiB"
        return warning(told, _MAKE_ROOM)
    return ok(message)


def nearest_folder(path: Path) -> Path | None:
    """The path itself or the nearest above it that is there; None if that is no folder."""
    nearest = _existing(path)
    return nearest if nearest.is_dir() else None


def _existing(path: Path) -> Path:
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())


def _local_folder(url: str) -> Path | None:
    if "://" in url and not url.startswith("file://"):
        return None
    return Path(url.removeprefix("file://")).absolute()


def _remote_artifacts(url: str) -> Verdict:
    store = ArtifactStore(url)
    digest = store.put(_PROBE)
    store.get(digest)
    store.remove(digest, before=datetime.now(UTC) + timedelta(days=1))
    return ok(f"{url} can be written and read")
