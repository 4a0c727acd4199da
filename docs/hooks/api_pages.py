"""Writes the API's pages while the site is built, from the document that the service itself serves.

A page for each tag of the routes, one with all objects, and the document as `api/openapi.json`. The
routes that reference.md names are linked to them.
"""

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api_text import cell, fields_table, parameters_table, type_of, who_may_ask
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from service.app import create_app
from service.settings import Settings

_GENERATED = "Made from the service's own document, [openapi.json](openapi.json)."
_LIST = re.compile(r"ListPage_(\w+)_")
_ROUTE_CELL = re.compile(r"^\| `((?:GET|POST|PUT|DELETE|PATCH) /[^`]*)` \|", re.MULTILINE)
_METHODS = ("get", "post", "put", "patch", "delete")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The pages come last in the navigation, under what it calls Reference."""
    config.extra["openapi"] = _document()
    pages = [*(f"api/{_slug(tag)}.md" for tag in _tags(config)), "api/objects.md"]
    reference = next(section for section in config.nav or [] if "Reference" in section)
    reference["Reference"].append({"API": pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    document = config.extra["openapi"]
    written = {f"api/{_slug(tag)}.md": _tag_page(document, tag) for tag in _tags(config)}
    written["api/objects.md"] = _objects_page(document)
    written["api/openapi.json"] = json.dumps(document, indent=2, ensure_ascii=False)
    for path, content in written.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links each row of the reference's table of routes to the route's own section."""
    if page.file.src_uri != "reference.md":
        return markdown
    places = {
        f"{method.upper()} {path}": f"api/{_slug(operation['tags'][0])}.md#{_anchor(operation)}"
        for path, method, operation in _operations(config.extra["openapi"])
        if "tags" in operation
    }
    return _ROUTE_CELL.sub(lambda row: _linked(row[0], row[1], places), markdown)


def _document() -> dict[str, Any]:
    """As /openapi.json serves it; neither a database nor a home is touched."""
    with tempfile.TemporaryDirectory() as home:
        return dict(create_app(Settings(home=Path(home))).openapi())


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield path, method, methods[method]


def _tags(config: MkDocsConfig) -> list[str]:
    """In the order in which the service has its routes."""
    named = (operation.get("tags", []) for _, _, operation in _operations(config.extra["openapi"]))
    return list(dict.fromkeys(tag for tags in named for tag in tags))


def _slug(tag: str) -> str:
    return tag.replace(" ", "-").lower()


def _anchor(operation: dict[str, Any]) -> str:
    return str(operation["operationId"])


def _linked(row: str, route: str, places: dict[str, str]) -> str:
    return f"| [`{route}`]({places[route]}) |" if route in places else row


def _tag_page(document: dict[str, Any], tag: str) -> str:
    sections = [
        _operation(document, path, method, operation)
        for path, method, operation in _operations(document)
        if tag in operation.get("tags", [])
    ]
    return "\n\n".join([f"# {tag[0].upper()}{tag[1:]}", _GENERATED, *sections])


def _operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [
        f"## {operation.get('summary', path)} {{ #{_anchor(operation)} }}",
        f"`{method.upper()} {path}` · {who_may_ask(operation)}",
        operation.get("description", ""),
        parameters_table(operation.get("parameters", [])),
        _request(document, operation),
        *_answers(document, operation),
    ]
    return "\n\n".join(part for part in parts if part)


def _request(document: dict[str, Any], operation: dict[str, Any]) -> str:
    parts = []
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"**Body**, `{kind}`: {type_of(content['schema'])}")
        if "properties" in content["schema"]:
            parts.append(fields_table(content["schema"]))
        parts.append(_example(document, content, "a body"))
    return "\n\n".join(part for part in parts if part)


def _answers(document: dict[str, Any], operation: dict[str, Any]) -> Iterator[str]:
    errors = []
    for status, answer in sorted(operation["responses"].items()):
        contents = answer.get("content", {})
        if "application/problem+json" in contents:
            errors.append(f"{status} {answer['description']}")
            continue
        for kind, content in contents.items() or [("", {})]:
            body = type_of(content.get("schema", {})) if kind == "application/json" else kind
            told = "" if answer["description"] == "Successful Response" else answer["description"]
            yield f"**{status}** {': '.join(part for part in (body, cell(told)) if part)}"
            yield _example(document, content, "an answer")
    if errors:
        yield f"**Errors**, each a [Problem](objects.md#problem): {', '.join(errors)}"


def _example(document: dict[str, Any], content: dict[str, Any], name: str) -> str:
    """Folded: an announcement alone is forty lines."""
    schema = content.get("schema", {})
    named = schema.get("$ref", "").rpartition("/")[2]
    examples = document["components"]["schemas"].get(named, schema).get("examples")
    if not examples:
        return ""
    text = json.dumps(examples[0], indent=2, ensure_ascii=False)
    block = f"```json\n{text}\n```".replace("\n", "\n    ")
    return f'??? example "{name[0].upper()}{name[1:]}"\n\n    {block}'


def _objects_page(document: dict[str, Any]) -> str:
    sections = ["# Objects", _GENERATED]
    for name, schema in sorted(document["components"]["schemas"].items()):
        if not _LIST.fullmatch(name):
            parts = [f"## {name} {{ #{name.lower()} }}", schema.get("description", "")]
            sections += [part for part in (*parts, fields_table(schema)) if part]
    return "\n\n".join(sections)
