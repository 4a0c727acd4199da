"""Groups, keys, and the lists all routes share."""

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient
from support import Connect, MakeGroup

from service.dependencies import AppState
from service.tables import AuditRow


def test_a_registered_group_is_shown_to_the_operator(operator: TestClient) -> None:
    created = operator.post("/v1/groups", json={"name": "teachers"})
    assert created.status_code == 201
    assert created.json()["object"] == "group"
    assert operator.get(f"/v1/groups/{created.json()['id']}").json() == created.json()


def test_two_groups_cannot_have_one_name(operator: TestClient) -> None:
    operator.post("/v1/groups", json={"name": "teachers"})
    again = operator.post("/v1/groups", json={"name": "teachers"})
    assert again.status_code == 409
    assert again.json()["param"] == "name"
    assert "'teachers'" in again.json()["detail"]
    assert len(operator.get("/v1/groups").json()["data"]) == 1


def test_a_group_sees_itself_and_no_other(operator: TestClient, make_group: MakeGroup) -> None:
    own_id, own = make_group("teachers")
    other_id, _ = make_group("pupils")
    assert own.get(f"/v1/groups/{own_id}").status_code == 200
    assert own.get(f"/v1/groups/{other_id}").status_code == 404
    assert own.get("/v1/groups").status_code == 403


def test_a_keys_secret_is_shown_once_and_works(
    operator: TestClient, client_with_key: Connect
) -> None:
    group_id = operator.post("/v1/groups", json={"name": "teachers"}).json()["id"]
    key = operator.post("/v1/keys", json={"group_id": group_id, "name": "laptop"}).json()
    assert key["secret"].startswith("tt_grp_")
    assert client_with_key(key["secret"]).get(f"/v1/groups/{group_id}").status_code == 200
    shown = operator.get(f"/v1/keys/{key['id']}").json()
    assert "secret" not in shown
    assert shown["name"] == "laptop"


def test_the_database_holds_no_secret(operator: TestClient, state: AppState) -> None:
    key = operator.post("/v1/keys", json={"scope": "operator"}).json()
    with state.database.read() as session:
        rows = session.connection().exec_driver_sql("SELECT * FROM keys").all()
    assert len(rows) == 2  # this key and the one of the client
    assert not any(key["secret"] in str(row) for row in rows)


def test_a_revoked_key_is_refused_from_the_next_request_on(
    operator: TestClient, client_with_key: Connect
) -> None:
    key = operator.post("/v1/keys", json={"scope": "operator"}).json()
    second = client_with_key(key["secret"])
    assert second.get("/v1/groups").status_code == 200
    revoked = operator.delete(f"/v1/keys/{key['id']}")
    assert revoked.json()["revoked_at"] is not None
    assert second.get("/v1/groups").status_code == 401
    assert operator.delete(f"/v1/keys/{key['id']}").json() == revoked.json()


@pytest.mark.parametrize(
    "body", [{"scope": "group"}, {"scope": "operator", "group_id": "grp_" + "0" * 26}]
)
def test_a_keys_scope_and_group_must_agree(operator: TestClient, body: dict[str, str]) -> None:
    refused = operator.post("/v1/keys", json=body)
    assert refused.status_code == 422
    assert refused.json()["param"] == "group_id"


def test_a_key_for_an_unknown_group_is_refused(operator: TestClient) -> None:
    refused = operator.post("/v1/keys", json={"group_id": "grp_" + "0" * 26})
    assert refused.status_code == 404


def test_the_audit_log_names_who_made_and_revoked_a_key(
    operator: TestClient, state: AppState
) -> None:
    key = operator.post("/v1/keys", json={"scope": "operator"}).json()
    operator.delete(f"/v1/keys/{key['id']}")
    operator.delete(f"/v1/keys/{key['id']}")  # changes nothing, so nothing is noted
    with state.database.read() as session:
        rows = session.scalars(select(AuditRow).where(AuditRow.subject == key["id"])).all()
    assert sorted(row.action for row in rows) == ["key.created", "key.revoked"]
    assert all(row.actor.startswith("operator/key_") for row in rows)


def test_following_the_cursor_lists_every_item_once_newest_first(operator: TestClient) -> None:
    made = [operator.post("/v1/groups", json={"name": f"group {n}"}).json()["id"] for n in range(5)]
    listed, after = [], None
    for expected_size in (2, 2, 1):
        query = {"limit": 2} | ({"after": after} if after else {})
        page = operator.get("/v1/groups", params=query).json()
        assert page["object"] == "list"
        assert len(page["data"]) == expected_size
        assert page["first_id"] == page["data"][0]["id"]
        listed += [group["id"] for group in page["data"]]
        after = page["last_id"]
        assert page["has_more"] == (len(listed) < 5)
    assert listed == sorted(made, reverse=True)


def test_an_unknown_cursor_is_named(operator: TestClient) -> None:
    unknown = "grp_" + "z" * 26
    refused = operator.get("/v1/groups", params={"after": unknown})
    assert refused.status_code == 422
    assert refused.json()["param"] == "after"
    assert unknown in refused.json()["detail"]


@pytest.mark.parametrize("limit", ["0", "101", "x"])
def test_a_page_has_1_to_100_items(operator: TestClient, limit: str) -> None:
    refused = operator.get("/v1/groups", params={"limit": limit})
    assert refused.status_code == 422
    assert refused.json()["param"] == "limit"
