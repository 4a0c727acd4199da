"""Who may ask, and what is not told to others."""

import stat
import threading
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support import Connect, MakeGroup

from service.auth import hmac_of, load_key_secret, new_secret
from service.settings import Settings


def test_a_request_without_a_key_is_told_how_to_send_one(client: TestClient) -> None:
    refused = client.get("/v1/rounds")
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert refused.json()["code"] == "not_authenticated"


@pytest.mark.parametrize("secret", ["tt_op_x", "tt_grp_" + "0" * 43, "é"])
def test_an_unknown_key_is_refused(client: TestClient, secret: str) -> None:
    header = f"Bearer {secret}".encode()
    assert client.get("/v1/rounds", headers={"Authorization": header}).status_code == 401


def test_another_scheme_than_bearer_is_refused(client: TestClient) -> None:
    assert client.get("/v1/rounds", auth=("operator", "password")).status_code == 401


def test_a_groups_key_cannot_do_what_the_operator_does(make_group: MakeGroup) -> None:
    _, group = make_group("teachers")
    for method, path in [
        ("POST", "/v1/groups"),
        ("GET", "/v1/keys"),
        ("POST", "/v1/keys"),
        ("POST", "/v1/rounds"),
    ]:
        assert group.request(method, path, json={}).status_code == 403, path


def test_the_key_is_checked_before_the_body(client_with_key: Connect) -> None:
    stranger = client_with_key(new_secret("operator"))
    assert stranger.post("/v1/groups", json={"unknown": 1}).status_code == 401


def test_an_hmac_depends_on_the_services_secret() -> None:
    assert hmac_of("tt_op_x", b"a") != hmac_of("tt_op_x", b"b")


def test_the_key_secret_is_made_once_readable_by_the_owner_only(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", key_secret=None)
    found: list[bytes] = []
    starters = [
        threading.Thread(target=lambda: found.append(load_key_secret(settings))) for _ in range(8)
    ]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(found[0]) == 64
    made = list((tmp_path / "home").iterdir())
    assert [file.name for file in made] == ["key_secret"]
    assert stat.S_IMODE(made[0].stat().st_mode) == 0o600
