"""Every error is a problem document (RFC 9457), whoever raised it."""

import json
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from ..errors import InvalidInput, PushProxyError, StoreUnavailable
from .fields import View
from .later import refusal

_log = structlog.get_logger(__name__)
MEDIA_TYPE = "application/problem+json"
_RETRY_STORE_S = 5
_PLAIN = {
    400: "the body cannot be read as JSON",
    404: "there is nothing at this path; see /openapi.json",
    405: "this path does not take this method; Allow says which it takes",
}
"""What the framework's own errors say, in words that help."""


class FieldProblem(View):
    """One field that cannot be used."""

    field: str = Field(examples=["wake.deadline_s"])
    """Its full name; empty when the body as a whole is meant."""
    message: str


class Problem(View):
    """What went wrong and what to do (RFC 9457)."""

    type: str = "about:blank"
    title: str = Field(examples=["Invalid input"])
    status: int = Field(examples=[422])
    detail: str
    errors: list[FieldProblem] | None = None
    """The fields at fault, with 422."""


class TooManyRequests(PushProxyError):
    """The caller has used up its share for now."""

    http_status = 429
    title = "Too many requests"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotAuthenticated(PushProxyError):
    """No key, or one that is not known."""

    http_status = 401
    title = "Not authenticated"


class UnsupportedType(PushProxyError):
    """The body is of a kind that is not taken here."""

    http_status = 415
    title = "Unsupported media type"


class NotAllowed(PushProxyError):
    """The key is known and does not open this."""

    http_status = 403
    title = "Not allowed"


def problem(
    status: int,
    detail: str,
    *,
    title: str | None = None,
    errors: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem document as a response."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        content["errors"] = [error.model_dump() for error in errors]
    # ASCII: a field's name may hold half a surrogate pair, which has no UTF-8.
    body = json.dumps(content, ensure_ascii=True).encode("ascii")
    return Response(body, status, dict(headers or {}), media_type=MEDIA_TYPE)


def of_error(error: PushProxyError) -> Response:
    """The problem document of an error raised on purpose."""
    headers: dict[str, str] = {}
    errors: list[FieldProblem] = []
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif isinstance(error, StoreUnavailable):
        headers["Retry-After"] = str(_RETRY_STORE_S)
    elif isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="push-proxy"'
    elif isinstance(error, InvalidInput) and error.field is not None:
        errors.append(FieldProblem(field=error.field, message=str(error)))
    return problem(error.http_status, str(error), title=error.title, errors=errors, headers=headers)


def describe(errors: Sequence[Mapping[str, Any]], *, skip: int = 0) -> list[FieldProblem]:
    """Errors of pydantic, with full field names and without the values (they may be secret).

    ``skip`` location parts (FastAPI's ``body``, ``query``…) are left out of the names.
    """
    found: list[FieldProblem] = []
    for error in errors:
        parts = [str(part) for part in error["loc"][skip:]]
        message = refusal(error["type"], parts[-1] if parts else "", error.get("input"))
        if message is None and error["type"] == "extra_forbidden":
            message = "unknown field"
        text = message or error["msg"].removeprefix("Value error, ")
        if parts[:2] == ["policy", "rules"] and len(parts) > 2:
            text = f"rule {int(parts[2]) + 1}: {text}"  # as timelines count them
        found.append(FieldProblem(field=".".join(parts), message=text))
    return found


def summary(found: Sequence[FieldProblem]) -> str:
    """All faults in one sentence."""
    return "; ".join(
        f"{item.field}: {item.message}" if item.field else item.message for item in found
    )


async def _answer(request: Request, error: Exception) -> Response:
    """The one place where an error becomes a response."""
    match error:
        case PushProxyError():
            return of_error(error)
        case RequestValidationError():
            return _of_validation(error)
        case HTTPException():
            headers = dict(error.headers or {})
            if error.status_code == 405:
                headers["Allow"] = _methods(request) or headers.get("Allow", "")
            detail = _PLAIN.get(error.status_code, error.detail)
            return problem(error.status_code, detail, headers=headers)
    _log.error("HTTP request failed", method=request.method, exc_info=error)
    return problem(500, "the service failed at this request; its log says why. Try again later.")


def _methods(request: Request) -> str:
    """All methods of a path (the framework names those of one of its routes only)."""
    found: set[str] = set()
    for path, methods in request.app.openapi()["paths"].items():
        if compile_path(path)[0].match(request.url.path):
            found.update(method.upper() for method in methods)
    return ", ".join(sorted(found))


def _of_validation(error: RequestValidationError) -> Response:
    errors = error.errors()
    for item in errors:
        if item["type"] == "json_invalid":
            what, place = item["ctx"]["error"], item["loc"][-1]
            return problem(400, f"the body is no valid JSON (at character {place}: {what})")
    found = describe(errors, skip=1)
    return problem(422, summary(found), title=InvalidInput.title, errors=found)


def install(app: FastAPI) -> None:
    """Make every error of this app a problem document."""
    for kind in (PushProxyError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer)
