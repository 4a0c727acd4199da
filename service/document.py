"""The API's own document: what `/docs` shows."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api_schemas.errors import Problem


def documented(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """What to put in place of `app.openapi`."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            schemas = document["components"]["schemas"]
            # No route returns it as its own body, so FastAPI does not know that it is needed.
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= problem.pop("$defs", {})
            schemas["Problem"] = problem
            _complete_examples(schemas, _response_models(app))
            app.openapi_schema = document
        return app.openapi_schema

    return openapi


def _response_models(app: FastAPI) -> list[type[BaseModel]]:
    routes = (context.original_route for context in iter_route_contexts(app.routes))
    models = {route.response_model for route in routes if isinstance(route, APIRoute)}
    return [model for model in models if isinstance(model, type) and issubclass(model, BaseModel)]


def _complete_examples(schemas: dict[str, Any], models: list[type[BaseModel]]) -> None:
    """FastAPI leaves out what is null, in examples too, which would then lack required fields."""
    _, whole = models_json_schema([(model, "serialization") for model in models])
    for name, schema in whole["$defs"].items():
        if "examples" in schema:
            schemas[name]["examples"] = schema["examples"]
