"""Keys that end, keys that only read, and keys that are followed by others."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient
from support import Connect, MakeGroup, OpenRound, report_body

from service.dependencies import AppState
from service.tables import KeyRow


def _in(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


def _make(operator: TestClient, **fields: Any) -> dict[str, Any]:
    made = operator.post("/v1/keys", json={"scope": "operator"} | fields)
    assert made.status_code == 201, made.text
    return dict(made.json())


def _let_expire(state: AppState, key_id: str) -> str:
    """Past the API; gives the moment that an error should name."""
    past = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    with state.database.write() as session:
        session.execute(update(KeyRow).where(KeyRow.id == key_id).values(expires_at=past))
    return past.isoformat()


def test_an_expired_key_is_refused_with_the_moment_of_its_end(
    operator: TestClient, state: AppState, client_with_key: Connect
) -> None:
    key = _make(operator, expires_at=_in(hours=1))
    client = client_with_key(key["secret"])
    assert client.get("/v1/groups").status_code == 200
    ended = _let_expire(state, key["id"])
    refused = client.get("/v1/groups")
    assert (refused.status_code, refused.json()["code"]) == (401, "key_expired")
    assert ended in refused.json()["detail"]
    assert refused.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_cannot_be_made_to_end_in_the_past(operator: TestClient) -> None:
    refused = operator.post("/v1/keys", json={"scope": "operator", "expires_at": _in(seconds=-1)})
    assert (refused.status_code, refused.json()["param"]) == (422, "expires_at")


def test_a_read_key_reads_and_changes_nothing(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound, client_with_key: Connect
) -> None:
    group_id, _ = make_group("teachers")
    body = {"group_id": group_id, "access": "read"}
    key = operator.post("/v1/keys", json=body).json()
    assert key["access"] == "read"
    reader = client_with_key(key["secret"])
    url = f"/v1/rounds/{open_round()['id']}/report"
    assert reader.get(f"/v1/groups/{group_id}").status_code == 200
    assert reader.get(url).status_code == 404
    for refused in (
        reader.put(url, json=report_body()),
        reader.delete(url),
        reader.post("/v1/files"),
        reader.post(f"/v1/keys/{key['id']}/rotate", json={}),
    ):
        assert (refused.status_code, refused.json()["code"]) == (403, "read_only_key")


def test_a_group_rotates_its_key_and_both_work_until_the_grace_is_over(
    operator: TestClient, make_group: MakeGroup, client_with_key: Connect, state: AppState
) -> None:
    group_id, _ = make_group("teachers")
    end = _in(days=90)
    first = operator.post("/v1/keys", json={"group_id": group_id, "expires_at": end}).json()
    old = client_with_key(first["secret"])
    second = old.post(f"/v1/keys/{first['id']}/rotate", json={"grace_seconds": 3600})
    assert second.status_code == 201
    body = second.json()
    assert body["secret"].startswith("tt_grp_")
    assert {name: body[name] for name in ("scope", "group_id", "access", "expires_at")} == {
        name: first[name] for name in ("scope", "group_id", "access", "expires_at")
    }
    new = client_with_key(body["secret"])
    assert old.get(f"/v1/groups/{group_id}").status_code == 200
    assert new.get(f"/v1/groups/{group_id}").status_code == 200
    shown = operator.get(f"/v1/keys/{first['id']}").json()
    assert shown["successor_id"] == body["id"]
    left = datetime.fromisoformat(shown["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    _let_expire(state, first["id"])
    assert old.get(f"/v1/groups/{group_id}").json()["code"] == "key_expired"
    assert new.get(f"/v1/groups/{group_id}").status_code == 200


def test_without_a_grace_the_old_key_ends_at_once(
    operator: TestClient, client_with_key: Connect
) -> None:
    first = _make(operator)
    old = client_with_key(first["secret"])
    second = old.post(f"/v1/keys/{first['id']}/rotate", json={"grace_seconds": 0}).json()
    assert old.get("/v1/groups").json()["code"] == "key_expired"
    assert client_with_key(second["secret"]).get("/v1/groups").status_code == 200


def test_a_grace_never_lengthens_a_keys_life(operator: TestClient) -> None:
    first = _make(operator, expires_at=_in(minutes=5))
    operator.post(f"/v1/keys/{first['id']}/rotate", json={"grace_seconds": 3600})
    shown = operator.get(f"/v1/keys/{first['id']}").json()
    assert shown["expires_at"] == first["expires_at"]


def test_at_most_two_keys_of_a_lineage_live(operator: TestClient, state: AppState) -> None:
    first = _make(operator)

    def rotate(key: dict[str, Any]) -> Any:
        return operator.post(f"/v1/keys/{key['id']}/rotate", json={})

    second = rotate(first).json()
    for key, other in ((first, second), (second, first)):
        refused = rotate(key)
        assert (refused.status_code, refused.json()["code"]) == (409, "rotation_under_way")
        assert other["id"] in refused.json()["detail"]
    _let_expire(state, first["id"])
    assert rotate(first).json()["code"] == "key_not_live"
    third = rotate(second)
    assert third.status_code == 201
    operator.delete(f"/v1/keys/{third.json()['id']}")
    fourth = rotate(second).json()  # the third is dead, and its life was to have no end
    assert fourth["expires_at"] is None
    operator.delete(f"/v1/keys/{fourth['id']}")
    operator.delete(f"/v1/keys/{second['id']}")
    assert rotate(second).json()["code"] == "key_not_live"


def test_a_group_rotates_no_key_but_its_own_and_does_not_lengthen_its_life(
    operator: TestClient, make_group: MakeGroup, client_with_key: Connect
) -> None:
    group_id, other = make_group("teachers")
    key = operator.post("/v1/keys", json={"group_id": group_id, "expires_at": _in(days=1)}).json()
    path = f"/v1/keys/{key['id']}/rotate"
    unknown = other.post(f"/v1/keys/key_{'0' * 26}/rotate", json={})
    assert other.post(path, json={}).status_code == unknown.status_code == 404
    own = client_with_key(key["secret"])
    longer = own.post(path, json={"expires_at": _in(days=9)})
    assert (longer.status_code, longer.json()["param"]) == (403, "expires_at")
    by_operator = operator.post(path, json={"expires_at": _in(days=9)})
    assert by_operator.status_code == 201
    assert by_operator.json()["scope"] == "group"
    assert by_operator.json()["secret"].startswith("tt_grp_")


@pytest.mark.parametrize("grace", [-1, 30 * 86_400 + 1])
def test_a_grace_has_bounds(operator: TestClient, grace: int) -> None:
    key = _make(operator)
    refused = operator.post(f"/v1/keys/{key['id']}/rotate", json={"grace_seconds": grace})
    assert (refused.status_code, refused.json()["param"]) == (422, "grace_seconds")
