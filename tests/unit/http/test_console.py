"""The console's files: served safely, cached by their content, complete, and without data."""

import re
from importlib import resources

import pytest

from push_proxy.http.app import create_admin_app

from .conftest import Api

STATIC = resources.files("push_proxy.http.console").joinpath("static")
NAMES = sorted(entry.name for entry in STATIC.iterdir())
TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}


@pytest.mark.parametrize("name", NAMES)
async def test_each_file_has_its_type_and_is_cached_by_its_content(api: Api, name: str) -> None:
    """With the tag that it came with the answer is 304 and empty; HEAD has no body."""
    path = f"/console/{name}"
    answer = await api.call("GET", path, key=None)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == TYPES[name.rpartition(".")[2]]
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.content == STATIC.joinpath(name).read_bytes()
    known = {"If-None-Match": f'"other", W/{answer.headers["ETag"]}'}
    again = await api.call("GET", path, key=None, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == answer.headers["ETag"]
    head = await api.call("HEAD", path, key=None)
    assert head.headers["Content-Length"] == str(len(answer.content))
    assert head.content == b""


async def test_the_page_may_run_nothing_but_its_own_files(api: Api) -> None:
    """A strict policy, no sniffing, no frames, no referrer; and no inline script or style."""
    answer = await api.call("GET", "/", key=None)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|style=", answer.text)


async def test_every_module_is_fetched_at_once(api: Api) -> None:
    """The page names all of them, so that none waits for another to ask for it."""
    page = (await api.call("GET", "/", key=None)).text
    named = set(re.findall(r'(?:href|src)="/console/([^"]+)"', page))
    assert named == set(NAMES) - {"index.html"}


def test_no_script_parses_markup() -> None:
    """Names from the network reach the page as text alone."""
    for name in NAMES:
        source = STATIC.joinpath(name).read_text()
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert way not in source, name


@pytest.mark.parametrize("name", ["none.js", "..%2froutes.py", "%2e%2e", "index.html%00"])
async def test_there_is_nothing_else(api: Api, name: str) -> None:
    """A name is looked up, never opened."""
    answer = await api.call("GET", f"/console/{name}", key=None)
    assert answer.status_code == 404


async def test_it_takes_nothing(api: Api) -> None:
    """405 says which methods there are."""
    answer = await api.call("POST", "/", {}, key=None)
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize("http_section", [{"admin_listen": "127.0.0.1:0"}])
async def test_it_stands_on_the_admin_address_with_the_api_it_reads(api: Api) -> None:
    """With http.admin_listen it is there, and no longer on the API's address."""
    assert (await api.call("GET", "/", key=None)).status_code == 404
    assert (await api.call("GET", "/console/main.js", key=None)).status_code == 404
    api.app = create_admin_app(api.deps)
    api.client = await api.new_client()
    assert (await api.call("GET", "/", key=None)).status_code == 200
    assert (await api.call("GET", "/v1/overview")).status_code == 200
    assert (await api.call("GET", "/v1/overview", key="wrong")).status_code == 401
