"""What FastAPI does not say by itself in /openapi.json: problem documents, shared wording."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from .fields import View
from .problems import MEDIA_TYPE, Problem

_MEANINGS = {
    400: "The body is no valid JSON.",
    401: "No key, or an unknown one.",
    403: "The key does not open this.",
    404: "It does not exist, or belongs to somebody else.",
    409: "It contradicts what is there.",
    412: "It has another version than If-Match allows.",
    413: "The body is too large.",
    415: "The body is of a kind that is not taken here.",
    422: "A value cannot be used; `errors` names the fields.",
    429: "Too many requests; Retry-After says when to go on.",
    503: "The store does not answer, or the service is not ready; try again later.",
}
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
}
ETAG_HEADER: dict[str, Any] = {
    "ETag": {"description": "The version, for If-Match.", "schema": {"type": "string"}}
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, beside those that any route under ``/v1`` has."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted({401, 422, 429, *statuses}):
        found[status] = {
            "description": _MEANINGS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        if status in {429, 503}:
            found[status]["headers"] = _RETRY_AFTER
    return found


def publish(model: type[View]) -> None:
    """Describe what no route answers with as a whole, such as the lines of a stream."""
    _ALSO.append(model)


_ALSO: list[type[View]] = [Problem]

BODY = (400, 413)
"""Statuses of a route that takes a JSON body."""


def describe(app: FastAPI, *, variant: str) -> None:
    """Give the app an OpenAPI document that is complete.

    It is made here, at start: it takes a tenth of a second, in which no call would be served.
    ``variant`` names the set of routes; a second app of the same one shares the document.
    """
    if variant not in _DOCUMENTS:
        _DOCUMENTS[variant] = _document(app)

    def document() -> dict[str, Any]:
        return _DOCUMENTS[variant]

    app.openapi = document  # type: ignore[method-assign] # FastAPI's own way to extend it


_DOCUMENTS: dict[str, dict[str, Any]] = {}


def _document(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    for model in _ALSO:
        made = model.model_json_schema(ref_template="#/components/schemas/{model}")
        for name, part in made.pop("$defs", {}).items():
            schemas.setdefault(name, part)
        schemas[model.__name__] = made
    return schema
