"""Models: who may download them, and that the bytes are those of their digests."""

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from scenes import queue_job, settle_next, store_adapter
from starlette.testclient import TestClient
from support import MakeGroup

from api_schemas.models import ModelFile
from service.dependencies import AppState
from service.models.archive import build_archive
from workers.artifacts import ArtifactStore


def test_a_model_lists_its_files_and_belongs_to_its_round(
    operator: TestClient, state: AppState
) -> None:
    queue_job(state.database)
    held = settle_next(state)
    (model,) = operator.get("/v1/models").json()["data"]
    assert operator.get(f"/v1/models/{model['id']}").json() == model
    assert model["round_id"] == held.job.round_id
    assert model["base_model"] == held.job.announcement.base_model
    names = [file["name"] for file in model["files"]]
    assert names == ["adapter_config.json", "adapter_model.safetensors"]
    round_ = operator.get(f"/v1/rounds/{held.job.round_id}").json()
    assert (round_["state"], round_["model_id"]) == ("settled", model["id"])


def test_every_file_downloads_with_its_sha256(operator: TestClient, state: AppState) -> None:
    queue_job(state.database)
    settle_next(state)
    (model,) = operator.get("/v1/models").json()["data"]
    for file in model["files"]:
        got = operator.get(f"/v1/models/{model['id']}/files/{file['name']}")
        assert f"sha256:{hashlib.sha256(got.content).hexdigest()}" == file["sha256"]
        assert len(got.content) == file["bytes"]
        assert got.headers["ETag"] == f'"{file["sha256"]}"'


def test_a_part_of_a_file_can_be_had(operator: TestClient, state: AppState) -> None:
    queue_job(state.database)
    settle_next(state)
    model_id = operator.get("/v1/models").json()["data"][0]["id"]
    url = f"/v1/models/{model_id}/files/adapter_config.json"
    part = operator.get(url, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b'r": '[:3])


def test_the_zip_holds_the_listed_files_and_carries_its_own_digest(
    operator: TestClient, state: AppState
) -> None:
    queue_job(state.database)
    settle_next(state)
    (model,) = operator.get("/v1/models").json()["data"]
    got = operator.get(f"/v1/models/{model['id']}/adapter.zip")
    assert got.headers["ETag"] == f'"sha256:{hashlib.sha256(got.content).hexdigest()}"'
    assert "sha-256=:" in got.headers["Repr-Digest"]
    with zipfile.ZipFile(io.BytesIO(got.content)) as archive:
        unpacked = {info.filename: archive.read(info) for info in archive.infolist()}
    assert {
        name: f"sha256:{hashlib.sha256(data).hexdigest()}" for name, data in unpacked.items()
    } == {file["name"]: file["sha256"] for file in model["files"]}


def test_only_groups_that_took_part_see_a_model(make_group: MakeGroup, state: AppState) -> None:
    """An excluded group and one that did not report are told the same: there is none."""
    member_id, member = make_group("teachers")
    excluded_id, excluded = make_group("pupils")
    _, outsider = make_group("parents")
    queue_job(state.database, sorted([member_id, excluded_id]))
    settle_next(state, excluded={excluded_id: "sample 3 has no score"})
    (model,) = member.get("/v1/models").json()["data"]
    paths = ["", "/adapter.zip", "/files/adapter_config.json"]
    for path in paths:
        assert member.get(f"/v1/models/{model['id']}{path}").status_code == 200
        for other in (excluded, outsider):
            assert other.get(f"/v1/models/{model['id']}{path}").status_code == 404
    assert excluded.get("/v1/models").json()["data"] == []
    statuses = [
        who.get("/v1/models/tiny-enumerable").status_code for who in (member, excluded, outsider)
    ]
    assert statuses == [200, 404, 404]


def test_a_base_model_is_shown_by_its_name_with_the_weights_of_its_newest_round(
    operator: TestClient, state: AppState
) -> None:
    """Names of hub models have a slash, which a client may escape."""
    newest = "sha256:" + "7" * 64
    for revision in ("sha256:" + "3" * 64, newest):
        queue_job(state.database, base_model="owner/name", base_model_revision=revision)
        settle_next(state)
    for path in ("owner/name", "owner%2Fname"):
        entry = operator.get(f"/v1/models/{path}").json()
        assert (entry["id"], entry["base_model_revision"]) == ("owner/name", newest)
    for path in ("owner/other", "owner%2Fname%00", "name"):
        assert operator.get(f"/v1/models/{path}").status_code == 404


def test_a_group_that_pays_nothing_gets_the_model_too(
    make_group: MakeGroup, state: AppState
) -> None:
    member_id, member = make_group("teachers")
    queue_job(state.database, [member_id])
    settle_next(state, payments={member_id: 0.0})
    assert len(member.get("/v1/models").json()["data"]) == 1


def test_a_file_that_a_model_does_not_have_is_not_found(
    operator: TestClient, state: AppState
) -> None:
    queue_job(state.database)
    settle_next(state)
    model_id = operator.get("/v1/models").json()["data"][0]["id"]
    assert operator.get(f"/v1/models/{model_id}/files/other.bin").status_code == 404


def test_the_zip_of_the_same_files_is_the_same_bytes(tmp_path: Path) -> None:
    """Settlement may be tried twice, and both must name the same artifact."""
    artifacts = ArtifactStore(str(tmp_path))
    files = store_adapter(artifacts)
    assert build_archive(artifacts, files) == build_archive(artifacts, files[::-1])


def test_a_damaged_blob_is_not_zipped(tmp_path: Path) -> None:
    artifacts = ArtifactStore(str(tmp_path))
    digest = artifacts.put(b"weights")
    (blob,) = tmp_path.rglob(digest.removeprefix("sha256:"))
    blob.write_bytes(b"wights!")
    with pytest.raises(OSError, match="damaged"):
        build_archive(artifacts, [ModelFile(name="weights", bytes=7, sha256=digest)])
