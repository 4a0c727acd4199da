"""What revision 0004 does to the data of reports: plain ones are sealed, or opened again.

Frozen with it: the form of a sealed report is that of this revision, whatever later ones do.
"""

import base64
import hashlib
import json
import secrets
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import rfc8785
import sqlalchemy as sa
from sqlalchemy import Connection

from api_schemas.commitments import SALT_BYTES, commitment, merkle_root
from api_schemas.errors import TruthtuneError
from service.vault import Vault

_REPORTS = sa.table(
    "reports",
    *(sa.column(name, sa.String) for name in ("id", "round_id", "group_id", "digest")),
    *(sa.column(name, sa.JSON) for name in ("payload", "probe", "pinned")),
    sa.column("sealed", sa.LargeBinary),
    sa.column("commitment", sa.String),
)
_ROUNDS = sa.table(
    "rounds",
    *(sa.column(name, sa.String) for name in ("id", "commitment_root")),
    sa.column("closed_at", sa.DateTime),
)
_JOBS = sa.table(
    "jobs",
    *(sa.column(name, sa.String) for name in ("id", "round_id")),
    sa.column("input", sa.JSON),
)
_PLAIN = ("id", "round_id", "group_id", "payload", "probe", "pinned")
_SEALED = ("id", "round_id", "group_id", "sealed")


def seal_all(connection: Connection, vault: Vault | None) -> None:
    """Encrypt every report, publish closed rounds' roots, take reports out of jobs' inputs."""
    commitments: dict[str, list[str]] = defaultdict(list)
    for report in _rows(connection, _PLAIN):
        sealed, own = _seal(_required(vault), report)
        _change(connection, report.id, sealed=sealed, commitment=own)
        commitments[report.round_id].append(own)
    closed = sa.select(_ROUNDS.c.id).where(_ROUNDS.c.closed_at.is_not(None))
    for round_id in connection.scalars(closed).all():
        if commitments[round_id]:
            root = merkle_root(commitments[round_id])
            changed = sa.update(_ROUNDS).where(_ROUNDS.c.id == round_id)
            connection.execute(changed.values(commitment_root=root))
    for job in _jobs(connection):
        without = {name: value for name, value in job.input.items() if name != "reports"}
        connection.execute(sa.update(_JOBS).where(_JOBS.c.id == job.id).values(input=without))


def open_all(connection: Connection, vault: Vault | None) -> None:
    """Decrypt every report, and put those of a round into its jobs' inputs again."""
    inputs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for report in _rows(connection, _SEALED):
        context = ("report", report.round_id, report.group_id)
        content = json.loads(_required(vault).open(report.sealed, *context))
        payload, pinned = content["report"], content["pinned"]
        digest = f"sha256:{hashlib.sha256(rfc8785.dumps(payload)).hexdigest()}"
        _change(
            connection,
            report.id,
            payload=payload,
            probe=content["probe"],
            pinned=pinned,
            digest=digest,
        )
        inputs[report.round_id].append(
            {"group_id": report.group_id, "report_digest": digest, "pinned": pinned, **payload}
        )
    for job in _jobs(connection):
        with_reports = job.input | {"reports": inputs[job.round_id]}
        connection.execute(sa.update(_JOBS).where(_JOBS.c.id == job.id).values(input=with_reports))


def _seal(vault: Vault, report: Any) -> tuple[bytes, str]:
    salt = secrets.token_bytes(SALT_BYTES)
    content = {
        "report": report.payload,
        "salt": base64.b64encode(salt).decode(),
        "probe": report.probe,
        "pinned": report.pinned,
    }
    context = ("report", report.round_id, report.group_id)
    sealed = vault.seal(rfc8785.dumps(content), *context)
    return sealed, commitment(report.round_id, report.group_id, salt, report.payload)


def _rows(connection: Connection, columns: Iterable[str]) -> list[Any]:
    selected = sa.select(*(_REPORTS.c[name] for name in columns))
    return list(connection.execute(selected.order_by(_REPORTS.c.group_id)).all())


def _jobs(connection: Connection) -> list[Any]:
    return list(connection.execute(sa.select(_JOBS).where(_JOBS.c.round_id.is_not(None))).all())


def _change(connection: Connection, report_id: str, **values: Any) -> None:
    connection.execute(sa.update(_REPORTS).where(_REPORTS.c.id == report_id).values(**values))


def _required(vault: Vault | None) -> Vault:
    if vault is None:
        raise TruthtuneError(
            "there are reports, and schema version 0004 keeps them encrypted: this needs the seal "
            "key, as `truthtune db upgrade` reads it",
            code="seal_key_needed",
        )
    return vault
