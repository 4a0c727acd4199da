"""Garbage collection removes what nothing names, and never what a live row names."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest
from corpus_scenes import create_corpus, create_evaluation, finish_next, pairs
from fake_cluster import DRIFT, FakeCluster, running, status, until
from scenes import (
    claim,
    queue_audit,
    queue_job,
)
from sqlalchemy import delete, update
from starlette.testclient import TestClient
from support import VAULT, MakeGroup, OpenRound, upload_jsonl
from typer.testing import CliRunner

from service.cli import app as command
from service.collection import collecting
from service.collection.collecting import Collected, collect
from service.collection.leftovers import remove_half_models
from service.collection.retention import expire_stages
from service.dependencies import AppState
from service.jobs import leases
from service.settings import Settings
from service.tables import FileRow, JobRow, ReportRow
from service.vault import DamagedSeal
from workers.artifacts import ArtifactStore, sha256_of
from workers.tensors import pack

DAY = timedelta(hours=24)


def in_two_days() -> datetime:
    return datetime.now(UTC) + 2 * DAY


def collected(state: AppState, **options: Any) -> Collected:
    """As two days from now, when all that is there is old."""
    given = {"dry_run": False, "now": in_two_days()} | options
    return collect(state.database, VAULT, state.artifacts, DAY, **given)


@pytest.fixture(params=["folder", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArtifactStore]:
    if request.param == "folder":
        yield ArtifactStore(str(tmp_path / "store"))
        return
    yield ArtifactStore("memory://collection")
    fsspec.filesystem("memory").rm("/collection", recursive=True)


def test_what_nothing_names_is_removed_and_what_a_row_names_stays(
    operator: TestClient, state: AppState
) -> None:
    kept = upload_jsonl(operator, "prompts", [{"prompt": "kept"}])["sha256"]
    gone = upload_jsonl(operator, "prompts", [{"prompt": "gone"}])["sha256"]
    with state.database.write() as session:
        session.execute(delete(FileRow).where(FileRow.sha256 == gone))
    found = collected(state)
    assert (found.named, found.removed) == (1, 1)
    assert found.removed_bytes == len(b'{"prompt": "gone"}\n')
    assert state.artifacts.exists(kept)
    assert not state.artifacts.exists(gone)


def test_a_dry_run_counts_and_removes_nothing(state: AppState) -> None:
    digest = state.artifacts.put(b"nobody's")
    assert collected(state, dry_run=True).removed == 1
    assert state.artifacts.exists(digest)


def test_what_is_young_is_spared_and_so_is_what_it_names(state: AppState) -> None:
    old = state.artifacts.put(b"a shard")
    _make_old(state.artifacts, old)
    young = state.artifacts.put_json({"shards": [old]})
    found = collected(state, now=datetime.now(UTC))
    assert (found.removed, found.young) == (0, 2)
    assert state.artifacts.exists(young)


def test_artifacts_are_followed_through_json_and_through_tensors(
    operator: TestClient, state: AppState
) -> None:
    """Three steps from a row: JSON, which names packed tensors, whose JSON names a model."""
    import torch

    artifacts = state.artifacts
    model = artifacts.put(b"the model's bytes")
    packed = artifacts.put(pack({"x": torch.zeros(300_000)}, {"groups": [{"model": model}]}))
    root = artifacts.put_json({"padding": "x" * (1 << 20), "pool": packed})
    upload_jsonl(operator, "prompts", [{"prompt": "hi"}])
    with state.database.write() as session:
        session.execute(update(FileRow).values(sha256=root))
    found = collected(state)
    assert (found.named, found.removed) == (3, 1)  # what was uploaded is named no longer
    assert artifacts.get(model) == b"the model's bytes"


def test_the_files_of_a_base_model_made_here_are_followed_through_their_list(
    operator: TestClient, state: AppState
) -> None:
    weights = state.artifacts.put(b"weights")
    listing = f"model.safetensors {weights.removeprefix('sha256:')}\n"
    revision = state.artifacts.put(listing.encode())
    upload_jsonl(operator, "prompts", [{"prompt": "hi"}])
    with state.database.write() as session:
        session.execute(update(FileRow).values(sha256=revision))
    assert collected(state).named == 2
    assert state.artifacts.exists(weights)


def test_a_digest_across_two_chunks_is_found(state: AppState, operator: TestClient) -> None:
    inner = state.artifacts.put(b"inner")
    for place in range((1 << 20) - 80, (1 << 20) + 8, 7):
        outer = state.artifacts.put(b"{" + b" " * place + inner.encode() + b"}")
        upload_jsonl(operator, "prompts", [{"prompt": f"{place}"}])
        with state.database.write() as session:
            session.execute(update(FileRow).values(sha256=outer))
        collected(state)
        assert state.artifacts.exists(inner), place


def test_nothing_of_a_settled_and_audited_round_is_lost(
    state: AppState, quick: Settings, cluster: FakeCluster
) -> None:
    job_id = queue_job(state.database)
    with running(quick, cluster):
        until(lambda: status(state.database, job_id) == "succeeded")
    with state.database.read() as session:
        round_id = session.get_one(JobRow, job_id).round_id
    audit_job = queue_audit(state.database, round_id)
    with running(quick, cluster):
        until(lambda: status(state.database, audit_job) == "succeeded")
    before = {blob.digest for blob in state.artifacts.blobs()}
    assert sha256_of(DRIFT) in before
    assert collected(state).removed == 0
    assert {blob.digest for blob in state.artifacts.blobs()} == before


def test_a_file_that_only_a_sealed_report_names_stays(
    make_group: MakeGroup, open_round: OpenRound, state: AppState
) -> None:
    _, group = make_group("teachers")
    pairs = [{"prompt": f"p {i}", "chosen": f"yes {i}", "rejected": "no"} for i in range(12)]
    file = upload_jsonl(group, "preferences", pairs)
    method = {"name": "tfidf_bradley_terry"}
    model = {"type": "preference_data", "file_id": file["id"], "method": method}
    opened = open_round()
    put = group.put(f"/v1/rounds/{opened['id']}/report", json={"size": 3, "reward_model": model})
    assert put.status_code == 200, put.text
    with state.database.write() as session:
        session.execute(delete(FileRow).where(FileRow.id == file["id"]))
    assert collected(state).removed == 0
    assert state.artifacts.exists(file["sha256"])


def test_a_report_that_cannot_be_opened_stops_the_collection_before_it_removes(
    state: AppState,
) -> None:
    queue_job(state.database)
    digest = state.artifacts.put(b"perhaps the report's")
    with state.database.write() as session:
        session.execute(update(ReportRow).values(sealed=b"\x01" + bytes(60)))
    with pytest.raises(DamagedSeal):
        collected(state)
    assert state.artifacts.exists(digest)


def test_a_blob_that_is_put_again_during_the_collection_is_spared(
    state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row may be on its way; the rows were read before."""
    digest = state.artifacts.put(b"wanted again")
    _make_old(state.artifacts, digest)
    read = collecting.named_by_rows

    def read_then_put(*arguments: Any) -> set[str]:
        found = read(*arguments)
        assert state.artifacts.put(b"wanted again") == digest
        return found

    monkeypatch.setattr(collecting, "named_by_rows", read_then_put)
    assert collected(state, now=datetime.now(UTC)).removed == 0
    assert state.artifacts.get(digest) == b"wanted again"


def test_what_a_stage_in_hand_has_made_is_spared_however_long_it_takes(state: AppState) -> None:
    queue_job(state.database)
    held = claim(state.database)
    with state.database.write() as session:
        leases.start_stage(session, held, "sample_pool")
    shard = state.artifacts.put(b"a shard that only memory names")
    assert collected(state).removed == 0
    assert state.artifacts.exists(shard)


def test_half_written_files_of_killed_processes_go_once_they_are_old(state: AppState) -> None:
    state.artifacts.put(b"any")
    left = Path(state.artifacts.url) / ".partial-killed"
    left.write_bytes(b"half")
    assert collected(state, now=datetime.now(UTC)).partials == 0
    assert left.exists()
    assert collected(state).partials == 1
    assert not left.exists()


def test_calls_go_once_their_corpus_is_made_or_unknown_and_judges_calls_never(
    operator: TestClient, state: AppState
) -> None:
    made = create_corpus(operator)["id"]
    finish_next(state)
    evaluation = create_evaluation(operator, file_id=pairs(operator))["id"]
    unknown = "corp_" + "0" * 26
    calls = Path(state.artifacts.url) / "calls"
    for book in (made, unknown, evaluation, "judge-1", "rm_1"):
        (calls / book).mkdir(parents=True)
        (calls / book / "a.json").write_bytes(b"a call")
        (calls / book / ".partial-killed").write_bytes(b"half a c")
    young = collected(state, now=datetime.now(UTC))
    assert (young.books, young.partials) == (0, 0)
    counted = collected(state, dry_run=True)
    assert (counted.books, counted.partials) == (2, 5)
    assert len(list(calls.iterdir())) == 5
    found = collected(state)
    assert (found.books, found.partials) == (2, 5)
    left = {path.relative_to(calls) for path in calls.rglob("*") if path.is_file()}
    assert left == {Path(book, "a.json") for book in (evaluation, "judge-1", "rm_1")}


def test_half_made_models_go_after_a_day_and_whole_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUTHTUNE_MODEL_CACHE", str(tmp_path))
    then = time.time() - 2 * DAY.total_seconds()
    for name in (".fetching-old", ".converting-old", "bm_whole", ".fetching-new", ".fetching-on"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"x")
        for path in (tmp_path / name / "weights", tmp_path / name):
            if name != ".fetching-new":
                os.utime(path, (then, then))
    os.utime(tmp_path / ".fetching-on" / "weights")  # written to just now
    assert remove_half_models(datetime.now(UTC), dry_run=True) == 2
    assert remove_half_models(datetime.now(UTC), dry_run=False) == 2
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"bm_whole", ".fetching-new", ".fetching-on"}


def test_checkpoints_of_trainings_are_no_blobs(state: AppState) -> None:
    folder = Path(state.artifacts.url) / "training" / "rnd"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"x")
    collected(state)
    assert (folder / "weights").exists()


def test_a_store_lists_its_blobs_and_removes_only_old_ones(store: ArtifactStore) -> None:
    digest = store.put(b"bytes")
    (blob,) = store.blobs()
    assert (blob.digest, blob.bytes) == (digest, 5)
    assert abs(blob.modified - datetime.now(UTC)) < timedelta(minutes=1)
    assert not store.remove(digest, datetime.now(UTC) - DAY)
    assert store.get(digest) == b"bytes"
    assert store.remove(digest, datetime.now(UTC) + DAY)
    assert not store.remove(digest, datetime.now(UTC) + DAY)
    assert list(store.blobs()) == []


def test_a_removal_that_was_killed_half_way_loses_nothing(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    digest = store.put(b"bytes")
    (path,) = tmp_path.glob("??/*")
    path.rename(f"{path}.removed")
    assert [blob.digest for blob in store.blobs()] == [digest]
    assert store.get(digest) == b"bytes"


def test_expired_stages_say_so_and_their_round_can_be_audited_no_more(
    operator: TestClient, state: AppState, quick: Settings, cluster: FakeCluster
) -> None:
    job_id = queue_job(state.database)
    with running(quick, cluster):
        until(lambda: status(state.database, job_id) == "succeeded")
    with state.database.write() as session:
        assert expire_stages(session, days=1) == 0
        assert expire_stages(session, days=0) == 6
    assert collected(state).removed > 0
    shown = {stage["name"]: stage for stage in operator.get(f"/v1/jobs/{job_id}").json()["stages"]}
    assert {name for name, stage in shown.items() if stage["expired"]} == set(shown) - {"settle"}
    assert all(stage["status"] == "done" for stage in shown.values())
    round_id = operator.get(f"/v1/jobs/{job_id}").json()["round_id"]
    refused = operator.post(f"/v1/rounds/{round_id}/audits", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "artifacts_expired")
    model_id = operator.get(f"/v1/rounds/{round_id}").json()["model_id"]
    for path in ("adapter.zip", "files/adapter_config.json"):
        assert operator.get(f"/v1/models/{model_id}/{path}").status_code == 200


def test_a_failed_job_whose_stages_expired_runs_them_again(
    operator: TestClient, state: AppState, quick: Settings, cluster: FakeCluster
) -> None:
    job_id = queue_job(state.database)
    cluster.acts["value"] = lambda _: operator.post(f"/v1/jobs/{job_id}/cancel")
    with running(quick, cluster):
        until(lambda: status(state.database, job_id) == "cancelled")
    with state.database.write() as session:
        assert expire_stages(session, days=0) >= 5
    assert collected(state).removed > 0
    cluster.acts.clear()
    assert operator.post(f"/v1/jobs/{job_id}/retry").status_code == 200
    with running(quick, cluster):
        until(lambda: status(state.database, job_id) == "succeeded")
    assert cluster.ran.count("fit_rewards") == 2


def test_the_command_says_what_it_removed(state: AppState, settings: Settings) -> None:
    digest = state.artifacts.put(b"nobody's")
    _make_old(state.artifacts, digest)
    environment = {
        "TRUTHTUNE_HOME": str(settings.home),
        "TRUTHTUNE_DATABASE_URL": settings.resolved_database_url,
        "TRUTHTUNE_SEAL_KEY": settings.seal_key or "",
        "TRUTHTUNE_STAGE_RETENTION_DAYS": "30",
    }
    tried = CliRunner().invoke(command, ["artifacts", "collect", "--dry-run"], env=environment)
    assert tried.stdout.startswith("1 artifacts of 8 bytes would be removed"), tried.output
    spared = ["artifacts", "collect", "--older-than", "1000"]
    assert "0 artifacts" in CliRunner().invoke(command, spared, env=environment).stdout
    assert state.artifacts.exists(digest)
    done = CliRunner().invoke(command, ["artifacts", "collect"], env=environment)
    assert "1 artifacts of 8 bytes removed" in done.stdout
    assert not state.artifacts.exists(digest)


def _make_old(artifacts: ArtifactStore, digest: str) -> None:
    then = time.time() - 3 * DAY.total_seconds()
    os.utime(artifacts._path(digest), (then, then))
