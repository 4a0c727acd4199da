"""What `http_api.py` asks for: a database of many rounds, one of them open, groups with keys and
reports to send, and a model with one large file."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from many_rounds import ANNOUNCED, DIGEST, fill
from sqlalchemy import select
from sqlalchemy.orm import Session

import migrations
from api_schemas.groups import Scope
from api_schemas.ids import new_id
from api_schemas.jobs import STAGES
from service.auth import hmac_of, load_key_secret, new_secret
from service.database import Database
from service.groups import repository as groups
from service.settings import Settings
from service.tables import JobRow, JobStageRow, ModelRow, RoundRow
from workers.artifacts import ArtifactStore

GROUPS = 64
PROMPTS = ["red sun", "green rain", "blue", "sun rain blue", "red green"]
_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Scene:
    """Headers of keys, and the paths that requests go to."""

    operator: dict[str, str]
    reader: dict[str, str]
    job_id: str
    round_id: str
    reports: list[tuple[dict[str, str], str]]
    """Of each group: its headers and its body, as the API takes them."""

    bare_reports: list[tuple[dict[str, str], str]]
    download_path: str
    file_path: str
    """Of the same bytes, in the folder of the scene."""


def set_scene(settings: Settings, large_file_bytes: int) -> Scene:
    store = ArtifactStore(settings.resolved_artifacts_url)
    prompts = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS)
    prompts_digest = store.put(prompts.encode())
    large_file = store.put_stream(_random_chunks(large_file_bytes))
    database = Database(settings.resolved_database_url)
    migrations.upgrade(database)
    fill(database)
    with database.write() as session:
        round_id = _open_round(session, prompts_digest)
        job_id = _finished_job(session)
        model_id = _model(session, large_file, large_file_bytes)
        operator = _key(session, settings, "operator", None)
        members = [_group_with_key(session, settings, number) for number in range(GROUPS)]
    database.dispose()
    bodies = [_report(number) for number in range(GROUPS)]
    json_type = {"Content-Type": "application/json"}
    name = large_file.removeprefix("sha256:")
    return Scene(
        operator=operator,
        reader=members[0][1],
        job_id=job_id,
        round_id=round_id,
        reports=[(key | json_type, body) for (_, key), body in zip(members, bodies, strict=True)],
        bare_reports=[
            ({"X-Group": id_} | json_type, body)
            for (id_, _), body in zip(members, bodies, strict=True)
        ],
        download_path=f"/v1/models/{model_id}/files/adapter_model.safetensors",
        file_path=f"artifacts/{name[:2]}/{name}",
    )


def nginx_conf(folder: Path, port: int) -> str:
    """One worker that sends the files of `folder` with sendfile, from `folder` alone."""
    user = "user root;" if os.geteuid() == 0 else ""  # else it could not read what is ours
    return f"""
{user} worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log stderr;
events {{}}
http {{
  access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
  client_body_temp_path {folder}/nginx; proxy_temp_path {folder}/nginx;
  fastcgi_temp_path {folder}/nginx; uwsgi_temp_path {folder}/nginx;
  scgi_temp_path {folder}/nginx;
  server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


def _random_chunks(size: int) -> Iterator[bytes]:
    """The same random MiB again and again: what is measured does not look at it."""
    chunk = os.urandom(_CHUNK_BYTES)
    for _ in range(size // _CHUNK_BYTES):
        yield chunk


def _report(number: int) -> str:
    """As the README's group reports: a list of words and a length, others for each group."""
    words = [f"{word}{number}" for word in ("please", "thank", "green", "rain")]
    features = [
        {"type": "keywords", "words": words, "weight": 1.0},
        {"type": "length", "target_words": 12 + number, "weight": 0.5},
    ]
    return json.dumps(
        {"size": 1 + number, "reward_model": {"type": "lexical", "features": features}}
    )


def _open_round(session: Session, prompts_digest: str) -> str:
    now = datetime.now(UTC)
    row = RoundRow(
        id=new_id("rnd"),
        state="open",
        announcement=ANNOUNCED | {"prompts_sha256": prompts_digest},
        announcement_digest=DIGEST,
        created_at=now,
        opened_at=now,
    )
    session.add(row)
    return row.id


def _finished_job(session: Session) -> str:
    """One from the middle of the settled rounds, with all its stages."""
    settled = select(JobRow).where(JobRow.status == "succeeded").order_by(JobRow.id)
    row = session.scalars(settled.offset(5000).limit(1)).one()
    row.started_at = row.finished_at = row.created_at
    for stage in STAGES:
        at = row.created_at
        session.add(
            JobStageRow(job_id=row.id, stage=stage, started_at=at, finished_at=at, digest=DIGEST)
        )
    return row.id


def _model(session: Session, digest: str, size: int) -> str:
    """Of an unfinished round of `many_rounds`, which has none yet."""
    failed = select(RoundRow.id).where(RoundRow.state == "failed").limit(1)
    file = {"name": "adapter_model.safetensors", "bytes": size, "sha256": digest}
    row = ModelRow(
        id=new_id("mdl"),
        round_id=session.scalars(failed).one(),
        base_model="smollm2-135m-instruct",
        base_model_revision=DIGEST,
        adapter_digest=DIGEST,
        files=[file],
        created_at=datetime.now(UTC),
    )
    session.add(row)
    return row.id


def _group_with_key(
    session: Session, settings: Settings, number: int
) -> tuple[str, dict[str, str]]:
    group = groups.add_group(session, f"reporters {number}", datetime.now(UTC))
    return group.id, _key(session, settings, "group", group.id)


def _key(
    session: Session, settings: Settings, scope: Scope, group_id: str | None
) -> dict[str, str]:
    secret = new_secret(scope)
    hashed = hmac_of(secret, load_key_secret(settings))
    groups.add_key(session, scope, group_id, "bench", hashed, datetime.now(UTC))
    return {"Authorization": f"Bearer {secret}"}
