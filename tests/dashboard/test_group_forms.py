"""A group's pages as requests: what forms do, what is refused, and what nobody else learns."""

import json
from typing import Any

import pytest
from fastapi.routing import APIRoute
from group_scenes import open_round, receipt_of, settled, written
from scenes import queue_job, settle_next
from site_scenes import Person, Site

from api_schemas import examples
from api_schemas.groups import KeyCreate
from api_schemas.ledger import ReceiptBodyVersion1
from service.dashboard import group, playground
from service.dashboard.group.receipts import explain

GROUP_POSTS = [
    route.path
    for router in (*group.ROUTERS, playground.router)
    for route in router.routes
    if isinstance(route, APIRoute) and "POST" in (route.methods or set())
]
WORDS = {"features.0.type": "keywords", "features.0.words": "please"}
"""The least that makes a reward model."""


@pytest.fixture(scope="module")
def own(site: Site) -> tuple[str, str]:
    """The id of a group, and its key."""
    return site.new_group("teachers")


@pytest.fixture(scope="module")
def person(site: Site, own: tuple[str, str]) -> Person:
    return Person(site, own[1])


@pytest.fixture(scope="module")
def settled_id(site: Site, own: tuple[str, str]) -> str:
    """Of two groups, where one's figures could tell the other's."""
    other, _ = site.new_group("one other")
    return settled(site, [own[0], other], [0.5, 0.25], name="Two groups")


def _report(site: Site, key: str, round_id: str) -> dict[str, Any]:
    with site.api(key) as api:
        return dict(api.get(f"/v1/rounds/{round_id}/report").json())


@pytest.mark.parametrize("path", GROUP_POSTS)
def test_no_form_is_taken_without_its_token(person: Person, path: str) -> None:
    address = path.replace("{round_id}", "rnd_" + "0" * 26).replace("{side}", "tuned")
    refused = person.client.post(address, data={"action": "submit"})
    assert refused.status_code == 403
    assert "load its page again" in refused.text


def test_a_report_is_submitted_replaced_and_withdrawn(
    site: Site, own: tuple[str, str], person: Person
) -> None:
    round_id = open_round(site)
    path = f"/rounds/{round_id}/report"
    for size in ("3", "4"):
        assert person.post(path, action="submit", size=size, **WORDS).status_code == 303
        assert _report(site, own[1], round_id)["size"] == int(size)
    shown = person.get(path).text
    assert _report(site, own[1], round_id)["commitment"] in shown
    assert person.get(f"{path}/report.json").json() == _report(site, own[1], round_id)
    assert person.post(f"{path}/withdraw").status_code == 303
    assert _report(site, own[1], round_id)["status"] == 404


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"size": "99", **WORDS}, "size", "99"),
        ({"size": "many", **WORDS}, "size", "&#39;many&#39;"),
        ({"size": "1", **WORDS, "features.0.weight": "much"}, "features.0.weight", "much"),
        ({"size": "1", "features.0.type": "keywords"}, "features.0.words", "at least 1 item"),
        ({"size": "1", "kind": "json", "json": "{"}, "json", "not JSON"),
        ({"size": "1", "kind": "json", "json": '{"type": "oracle"}'}, "json", "oracle"),
        ({"size": "1", "kind": "trained"}, None, "reward_model_id"),
        ({"size": "1"}, None, "at least 1 item"),
    ],
)
def test_a_refused_report_comes_back_with_its_values_and_the_reason_at_its_field(
    site: Site,
    own: tuple[str, str],
    person: Person,
    round_id: str,
    fields: dict[str, str],
    field: str | None,
    reason: str,
) -> None:
    answer = person.post(f"/rounds/{round_id}/report", action="submit", **fields)
    assert answer.status_code == 422
    assert reason in answer.text
    assert f'value="{fields["size"]}"' in answer.text
    if field is not None:
        _, found = answer.text.split(f'name="{field}"', 1)
        assert 'aria-invalid="true" aria-describedby="complaint"' in found.split(">", 1)[0]
    assert _report(site, own[1], round_id)["status"] == 404


@pytest.fixture(scope="module")
def round_id(site: Site) -> str:
    """Of an open round without any report."""
    return open_round(site)


def test_a_report_that_comes_too_late_is_told_so(site: Site, person: Person) -> None:
    round_id = open_round(site)
    with site.api() as api:
        api.post(f"/v1/rounds/{round_id}/cancel").raise_for_status()
    late = person.post(f"/rounds/{round_id}/report", action="submit", size="1", **WORDS)
    assert late.status_code == 409
    assert 'role="alert" class="problem">round' in late.text
    assert "takes no more reports" in late.text


def test_a_report_is_its_authors_alone(site: Site, person: Person) -> None:
    round_id = open_round(site)
    person.post(f"/rounds/{round_id}/report", action="submit", size="7", **WORDS)
    _, key = site.new_group("curious")
    curious = Person(site, key)
    pages = [curious.get(f"/rounds/{round_id}{path}").text for path in ("", "/report")]
    assert "has not reported" in pages[0]
    assert all("please" not in page and "size 7" not in page for page in pages)
    operator = Person(site, site.operator_key)
    assert operator.get(f"/rounds/{round_id}/report").status_code == 403
    assert "size 7" not in operator.get(f"/rounds/{round_id}").text


def test_a_key_that_may_only_read_gets_no_form(site: Site, own: tuple[str, str]) -> None:
    asked = KeyCreate(group_id=own[0], access="read")
    with site.api() as api:
        made = api.post("/v1/keys", json=asked.model_dump(mode="json")).json()
    reader = Person(site, made["secret"])
    page = reader.get(f"/rounds/{open_round(site)}/report").text
    assert "may only read" in page
    assert "Submit the report" not in page
    assert 'action="/dashboard/playground"' not in reader.get("/playground").text


def test_progress_is_told_until_the_work_has_ended(site: Site, own: tuple[str, str]) -> None:
    person = Person(site, own[1])
    queue_job(site.state.database, [own[0]])
    with site.api() as api:
        waiting = api.get("/v1/rounds", params={"limit": 1}).json()["data"][0]["id"]
    path = f"/rounds/{waiting}/progress"
    assert person.get(path, **{"HX-Request": "true"}).status_code == 200
    assert "Waiting for its turn" in person.get(path).text
    settle_next(site.state)
    last = person.get(path, **{"HX-Request": "true"})
    assert (last.status_code, last.headers["HX-Refresh"]) == (286, "true")


def test_of_two_groups_neither_page_tells_what_the_other_wanted(
    site: Site, own: tuple[str, str], person: Person, settled_id: str
) -> None:
    receipt = receipt_of(site, own[1], settled_id)
    page = person.get(f"/receipts/{receipt['id']}").text
    assert "changed the model for the others by <strong>0.500</strong>" in page
    assert "you see the difference alone" in page
    assert "tuned without you" not in page
    operators = Person(site, site.operator_key).get(f"/receipts/{receipt['id']}")
    assert "As its group sees it" in operators.text


def test_a_receipt_is_downloaded_byte_for_byte(
    site: Site, own: tuple[str, str], person: Person, settled_id: str
) -> None:
    receipt = receipt_of(site, own[1], settled_id)
    found = person.get(f"/receipts/{receipt['id']}/receipt.json")
    with site.api(own[1]) as api:
        assert found.content == api.get(f"/v1/receipts/{receipt['id']}").content
    assert found.headers["Content-Disposition"] == f'attachment; filename="{receipt["id"]}.json"'
    _, stranger = site.new_group("strangers")
    assert Person(site, stranger).get(f"/receipts/{receipt['id']}/receipt.json").status_code == 404


def test_what_a_round_was_announced_with_can_be_downloaded(
    person: Person, settled_id: str, round_id: str
) -> None:
    prompts = person.get(f"/rounds/{round_id}/prompts.jsonl")
    assert json.loads(prompts.content) == {"prompt": "red sun"}
    assert person.get(f"/rounds/{round_id}/round.json").json()["id"] == round_id
    assert person.get(f"/rounds/{round_id}/certificate.json").status_code == 404
    certificate = person.get(f"/rounds/{settled_id}/certificate.json")
    assert certificate.json()["round_id"] == settled_id
    assert certificate.headers["Content-Disposition"].startswith("attachment")


def test_an_adapter_is_fetched_in_ranges_by_its_groups_alone(
    site: Site, own: tuple[str, str], person: Person, settled_id: str
) -> None:
    with site.api(own[1]) as api:
        model = api.get(f"/v1/rounds/{settled_id}").json()["model_id"]
        whole = api.get(f"/v1/models/{model}/adapter.zip")
    path = f"/models/{model}/adapter.zip"
    part = person.get(path, Range="bytes=10-19", **{"If-Range": whole.headers["ETag"]})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert person.get(path).headers["Repr-Digest"] == whole.headers["Repr-Digest"]
    assert person.get(path, **{"If-None-Match": whole.headers["ETag"]}).status_code == 304
    _, key = site.new_group("not of this round")
    assert Person(site, key).get(path).status_code == 404


def test_receipts_of_old_rounds_have_their_names_too(
    site: Site,
    own: tuple[str, str],
    person: Person,
    settled_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where a round is beyond those that one request brings."""
    settled(site, [own[0]], [0.0], name="Newer than two groups")
    monkeypatch.setattr("service.dashboard.round_names._NEWEST", 1)
    page = person.get("/receipts").text
    assert "Two groups" in page
    assert "Newer than two groups" in page


def test_a_receipt_older_than_signatures_is_explained_too() -> None:
    shared = set(ReceiptBodyVersion1.model_fields) & set(examples.RECEIPT["body"])
    old = {name: examples.RECEIPT["body"][name] for name in shared}
    digest = {"version": 1, "report_digest": "sha256:" + "0" * 64}
    figures = {"payment": 0.75, "surcharge": 0.25, "size": 4, "valuation": 0.5, "utility": 1.25}
    found = explain(ReceiptBodyVersion1.model_validate(old | digest | figures))
    assert (found.difference, found.worth, found.utility) == (0.75 - 0.25, 4 * 0.5, 1.25)


def test_preferences_become_a_reward_model(
    site: Site, own: tuple[str, str], person: Person
) -> None:
    lines = [{"prompt": f"red {n}", "chosen": "sun", "rejected": "rain"} for n in range(10)]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    none = person.post("/reward-models", name="words", method="tfidf_bradley_terry")
    assert (none.status_code, "choose a file" in none.text) == (422, True)
    broken = person.post("/reward-models", files={"upload": ("p.jsonl", b"{")}, name="words")
    assert (broken.status_code, "line 1" in broken.text) == (422, True)
    sent = {"upload": ("pairs.jsonl", data)}
    unnamed = person.post("/reward-models", files=sent, name="", method="tfidf_bradley_terry")
    assert unnamed.status_code == 422
    with site.api(own[1]) as api:
        (file,) = api.get("/v1/files").json()["data"]
        assert f'value="{file["id"]}" selected' in unnamed.text
        again = {"file_id": file["id"], "name": "words", "method": "tfidf_bradley_terry"}
        made = [person.post("/reward-models", **again, idempotency_key="a-key") for _ in range(2)]
        (reward_model,) = api.get("/v1/reward-models").json()["data"]
    places = {answer.headers["Location"] for answer in made}
    assert places == {f"/dashboard/reward-models/{reward_model['id']}"}
    assert "Waiting for its turn" in person.get(f"/reward-models/{reward_model['id']}").text


def test_the_playground_answers_without_scripts_and_in_a_stream(
    site: Site,
    own: tuple[str, str],
    person: Person,
    settled_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with site.api(own[1]) as api:
        model = api.get(f"/v1/rounds/{settled_id}").json()["model_id"]
    asked = {"model": model, "prompt": "red", "temperature": "0", "max_tokens": "8", "seed": ""}
    silent = person.post("/playground", **asked)
    assert silent.status_code == 503
    assert "truthtune inference" in silent.text
    monkeypatch.setattr("service.playground.asking.events", written)
    page = person.post("/playground", **asked).text
    assert page.index("the initial model at 0") < page.index("the tuned model at 0")
    streamed = person.post("/playground/stream/tuned", **asked)
    assert streamed.headers["Content-Type"].startswith("text/event-stream")
    chunks = [line[6:] for line in streamed.text.splitlines() if line.startswith("data: {")]
    pieces = [json.loads(chunk)["choices"][0]["delta"].get("content") for chunk in chunks]
    assert "".join(piece or "" for piece in pieces) == "the tuned model at 0"


@pytest.mark.parametrize(
    ("changed", "field"),
    [({"temperature": "hot"}, "temperature"), ({"max_tokens": "0"}, "max_tokens")],
)
def test_the_playground_names_the_field_at_fault(
    site: Site,
    own: tuple[str, str],
    person: Person,
    settled_id: str,
    changed: dict[str, str],
    field: str,
) -> None:
    with site.api(own[1]) as api:
        model = api.get(f"/v1/rounds/{settled_id}").json()["model_id"]
    refused = person.post("/playground", model=model, prompt="a <b> prompt", **changed)
    assert refused.status_code == 422
    _, found = refused.text.split(f'name="{field}"', 1)
    assert 'aria-invalid="true"' in found.split(">", 1)[0]
    assert "a &lt;b&gt; prompt</textarea>" in refused.text


@pytest.mark.parametrize("model", ["", "mdl_" + "0" * 26, "tiny-enumerable", "../keys"])
def test_a_model_that_is_none_of_the_groups_is_not_asked(person: Person, model: str) -> None:
    refused = person.post("/playground", model=model, prompt="red")
    assert refused.status_code == 404
    assert "Not Found" in refused.text
