"""Serves the console's files; there is no data in them."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response

from ...errors import NotFound

router = APIRouter(include_in_schema=False)

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    # Callers' names come from the network: no text of theirs can ever be parsed as markup.
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
_HEADERS = {
    # Asked for each time, answered 304: after an update nobody runs old scripts.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str


@cache
def _files() -> dict[str, _File]:
    """All files, read once: a request can name none but these."""
    found = {}
    for entry in resources.files(__package__).joinpath("static").iterdir():
        suffix = "." + entry.name.rpartition(".")[2]
        if suffix in _TYPES:
            content = entry.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:24]
            found[entry.name] = _File(content, _TYPES[suffix], f'"{digest}"')
    return found


IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match")]


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request, if_none_match: IfNoneMatch = None) -> Response:
    """The page."""
    return _answer(request, "index.html", if_none_match)


@router.api_route("/console/{name}", methods=["GET", "HEAD"])
async def file(
    request: Request,
    name: Annotated[str, Path(max_length=64)],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """A script, a style sheet or an image."""
    return _answer(request, name, if_none_match)


def _answer(request: Request, name: str, if_none_match: str | None) -> Response:
    found = _files().get(name)
    if found is None:
        raise NotFound(f"the console has no file {name!r}")
    headers = {**_HEADERS, "ETag": found.etag}
    known = {tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")}
    if known & {found.etag, "*"}:
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        headers["Content-Length"] = str(len(found.content))
        return Response(headers=headers, media_type=found.media_type)
    return Response(found.content, headers=headers, media_type=found.media_type)
