"""The API's own document: complete, strict, and with examples that work."""

from collections.abc import Iterator
from typing import Any

import pytest

from service.app import create_app
from service.settings import Settings

DOCUMENT = create_app(Settings()).openapi()
OPERATIONS: dict[str, dict[str, Any]] = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_route_says_what_it_does_and_how_it_fails(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]
    if "/v1/" in name:
        failures = {status for status in operation["responses"] if status >= "400"}
        assert failures >= {"401", "403", "422"}
        for status in failures:
            assert list(operation["responses"][status]["content"]) == ["application/problem+json"]
        if "{" in name:
            assert "404" in failures


def test_every_route_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)


def test_every_list_takes_a_cursor_and_a_limit() -> None:
    lists = [name for name, operation in OPERATIONS.items() if "ListPage" in str(operation)]
    assert len(lists) >= 8
    for name in lists:
        taken = {parameter["name"] for parameter in OPERATIONS[name]["parameters"]}
        assert taken >= {"after", "limit"}, name


def test_every_post_that_makes_something_takes_an_idempotency_key_but_that_of_secrets() -> None:
    creating = {name for name, operation in OPERATIONS.items() if "201" in operation["responses"]}
    keyed = {
        name
        for name in creating
        if "Idempotency-Key" in {taken["name"] for taken in OPERATIONS[name].get("parameters", [])}
    }
    # A replay would have to store the secret.
    assert creating - keyed == {"POST /v1/keys", "POST /v1/keys/{key_id}/rotate"}


def test_every_request_body_shows_an_example() -> None:
    bodies = dict(_request_schemas())
    assert len(bodies) >= 5
    for name, schema in bodies.items():
        fields = schema.get("properties", {}).values()
        assert schema.get("examples") or all(field.get("examples") for field in fields), name


def test_every_object_refuses_unknown_fields() -> None:
    for name, schema in [*DOCUMENT["components"]["schemas"].items(), *_request_schemas()]:
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False, name


def test_every_setting_says_its_meaning() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


def _request_schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    """The schema of every request's body, by the route's name."""
    for name, operation in OPERATIONS.items():
        for content in operation.get("requestBody", {}).get("content", {}).values():
            schema = content["schema"]
            reference = schema.get("$ref")
            if reference is not None:
                schema = DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]
            yield name, schema
