"""What the service's tests send, and short ways past the API to set a scene."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from starlette.testclient import TestClient

from api_schemas.groups import Scope
from service.auth import hmac_of, new_secret
from service.dependencies import AppState
from service.groups import repository
from service.vault import Vault

SEAL_KEY = base64.b64encode(bytes(range(32))).decode()
VAULT = Vault(bytes(range(32)))
PROMPTS = ["red sun", "green rain", "blue"]
PAIRS = [{"prompt": f"red {n}", "chosen": "sun", "rejected": "rain"} for n in range(10)]
"""The fewest that a reward model can be fitted to."""

Connect = Callable[[str], TestClient]
MakeGroup = Callable[[str], tuple[str, TestClient]]
UploadPrompts = Callable[..., str]
OpenRound = Callable[..., dict[str, Any]]


def add_key(state: AppState, scope: Scope, group_id: str | None) -> str:
    """A new key's secret, written past the API."""
    secret = new_secret(scope)
    with state.database.write() as session:
        repository.add_key(
            session, scope, group_id, "test", hmac_of(secret, state.key_secret), datetime.now(UTC)
        )
    return secret


def upload_jsonl(client: TestClient, purpose: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    response = client.post(
        "/v1/files", data={"purpose": purpose}, files={"file": (f"{purpose}.jsonl", data)}
    )
    assert response.status_code == 201, response.text
    return dict(response.json())


def round_body(prompts_file_id: str, **changes: Any) -> dict[str, Any]:
    body = {
        "name": "A round",
        "base_model": "tiny-enumerable",
        "prompts_file_id": prompts_file_id,
        "pool": {"method": "enumerate"},
        "generation": {"max_new_tokens": 2},
        "regularizer": {"type": "kl", "coefficient": 1.0},
        "counterfactuals": "closed_form",
        "max_group_size": 10,
        "price_per_unit_micro_units": 1_000_000,
    }
    return body | changes


def report_body(size: int = 3, word: str = "please") -> dict[str, Any]:
    features = [{"type": "keywords", "words": [word]}]
    return {"size": size, "reward_model": {"type": "lexical", "features": features}}


def count_rows(state: AppState, table: type) -> int:
    with state.database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0
