"""What FastAPI does not say by itself in /openapi.json: problem documents, shared wording."""

import asyncio
import json
from functools import partial
from typing import Any

from fastapi import FastAPI, Response
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


def describe(app: FastAPI) -> None:
    """Serve an OpenAPI document that is complete at /openapi.json.

    It is made when it is asked for first, once, and beside the loop: that takes half a second, in
    which no call would be served. At start it would be the fifth part of what a start costs.
    """
    once = asyncio.Lock()
    made: list[bytes] = []

    def make() -> bytes:
        return json.dumps(app.openapi()).encode()

    async def document() -> Response:
        async with once:
            if not made:
                made.append(await asyncio.to_thread(make))
        return Response(made[0], media_type="application/json")

    app.openapi = partial(_document, app)  # type: ignore[method-assign] # FastAPI's own way
    app.add_api_route("/openapi.json", document, include_in_schema=False)


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
