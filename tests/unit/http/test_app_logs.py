"""Logs that apps hand in."""

import gzip
import tracemalloc
from typing import Any

import httpx
import pytest

from push_proxy.core.ids import AccountKey
from push_proxy.errors import InvalidInput
from push_proxy.http.app_log_body import MAX_BYTES, MAX_TEXT_BYTES, kept

from .conftest import Api

DEVICE = "/v1/accounts/101/devices/d1"
LOGS = f"{DEVICE}/logs"
GZIP = {"Content-Encoding": "gzip"}
TEXT = "09:30:00 push received\n09:30:15 no network: čekám…\n".encode()


@pytest.fixture(autouse=True)
async def phone(api: Api) -> None:
    await api.account()
    await api.device()
    await api.call_record()


async def refused(api: Api, status: int, body: bytes, **more: Any) -> str:
    """What the problem document says; nothing was kept."""
    answer = await api.call("POST", LOGS, body, **more)
    assert (answer.status_code, answer.json()["status"]) == (status, status), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (await api.call("GET", LOGS)).json() == {"logs": []}
    return str(answer.json()["detail"])


async def saved(api: Api, log: str, **more: Any) -> httpx.Response:
    return await api.call("GET", f"{LOGS}/{log}", **more)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (TEXT, {}),
        (TEXT, {"Content-Type": "Text/Plain; charset=utf-8", "Content-Encoding": "identity"}),
        (gzip.compress(TEXT, mtime=0), GZIP),
        (gzip.compress(TEXT, mtime=0), {"Content-Type": "application/gzip"}),
        (gzip.compress(TEXT[:10], mtime=0) + gzip.compress(TEXT[10:], mtime=0), GZIP),
    ],
)
async def test_a_log_is_kept_and_read(api: Api, body: bytes, headers: dict[str, str]) -> None:
    """As text or packed, by the device's own key; read as text that no browser runs."""
    key = await api.device_key()
    made = await api.call("POST", f"{LOGS}?call_id=call-1", body, headers=headers, key=key)
    assert made.status_code == 201, made.text
    log = made.json()
    assert (log["size"], log["call_id"]) == (len(TEXT), "call-1")
    assert log["at"] == "2027-01-15T08:00:00.000Z"
    assert (await api.call("GET", LOGS, key=key)).json() == {"logs": [log]}
    for reader in (key, "devices"):
        found = await saved(api, log["id"], key=reader)
        assert found.content == TEXT
        assert found.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        assert found.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert found.headers["Content-Disposition"].startswith('attachment; filename="101-d1-')


async def test_a_script_stays_text(api: Api) -> None:
    """An app's log that is a page runs nowhere."""
    page = b"<html><script>alert(1)</script></html>"
    log = (await api.call("POST", LOGS, page)).json()["id"]
    found = await saved(api, log)
    assert found.content == page
    assert found.headers["Content-Type"].startswith("text/plain")
    assert found.headers["Content-Disposition"].startswith("attachment")


async def test_the_newest_five(api: Api) -> None:
    """For a week."""
    ids = []
    for number in range(7):
        api.clock.time += 1
        ids.append((await api.call("POST", LOGS, b"log %d" % number)).json()["id"])
    listed = [log["id"] for log in (await api.call("GET", LOGS)).json()["logs"]]
    assert listed == ids[:1:-1]
    assert (await saved(api, ids[1])).status_code == 404
    assert (await saved(api, ids[6])).content == b"log 6"
    api.clock.time += 7 * 86_400 + 1
    assert (await api.call("GET", LOGS)).json() == {"logs": []}
    assert (await saved(api, ids[6])).status_code == 404


async def test_what_is_too_long_is_refused(api: Api) -> None:
    """Announced or not, packed or not; the last byte that is taken is taken."""
    assert "262144 bytes" in await refused(api, 413, b"x" * (MAX_BYTES + 1))
    assert (await api.call("POST", LOGS, b"x" * MAX_BYTES)).status_code == 201


async def test_a_bomb_is_refused(api: Api) -> None:
    """Ten megabytes in ten kilobytes, in one part or in many: it is not unpacked to its end."""
    zeros = b"0" * MAX_TEXT_BYTES
    bomb = gzip.compress(zeros * 10)
    assert len(bomb) < 20_000
    assert "longer than 1048576 bytes" in await refused(api, 422, bomb, headers=GZIP)
    parts = gzip.compress(zeros) + gzip.compress(b"1")
    assert "longer than 1048576 bytes" in await refused(api, 422, parts, headers=GZIP)
    assert "more than 100 parts" in await refused(api, 422, gzip.compress(b"") * 101, headers=GZIP)
    assert (await api.call("POST", LOGS, gzip.compress(zeros), headers=GZIP)).status_code == 201


def test_a_bomb_takes_no_memory() -> None:
    """Sixty megabytes in a quarter of one: refused after the megabyte that a log may have."""
    bomb = gzip.compress(bytes(60_000_000), 1)
    assert len(bomb) < MAX_BYTES
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match="longer than"):
            kept(bomb, packed=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MAX_TEXT_BYTES


async def test_what_cannot_be_read_is_refused(api: Api) -> None:
    """Each fault says what to do."""
    packed = gzip.compress(TEXT)
    assert "is said to be gzip and is not" in await refused(api, 422, TEXT, headers=GZIP)
    assert "ends too early" in await refused(api, 422, packed[:-4], headers=GZIP)
    assert "ends too early" in await refused(api, 422, b"", headers=GZIP)
    assert "is empty" in await refused(api, 422, b" \n")
    for headers in (
        {"Content-Type": "application/json"},
        {"Content-Encoding": "br"},
        {"Content-Encoding": "gzip, gzip"},
        {"Content-Type": "application/gzip", "Content-Encoding": "gzip"},
        {"Content-Type": ""},
    ):
        assert "send the log as text/plain" in await refused(api, 415, packed, headers=headers)


async def test_a_call_that_is_not_the_accounts(api: Api) -> None:
    """A log is linked to a call of its own account only."""
    await api.account("102")
    await api.call_record("call-2", account=AccountKey("acme/102"))
    for call in ("call-2", "call-3"):
        answer = await api.call("POST", f"{LOGS}?call_id={call}", TEXT)
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {"field": "call_id", "message": f"the account has no call '{call}'"}
        ]
    assert (await api.call("POST", f"{LOGS}?call_id=/", TEXT)).status_code == 422


async def test_broken_characters_are_replaced(api: Api) -> None:
    """A log that was cut in the middle of a character can still be read."""
    log = (await api.call("POST", LOGS, TEXT[:-3])).json()["id"]
    assert (await saved(api, log)).content.decode().endswith("čekám\N{REPLACEMENT CHARACTER}")


async def test_not_too_often(api: Api) -> None:
    """Ten at once, then one every six seconds, each device for itself."""
    await api.device(name="d2")
    for _ in range(10):
        assert (await api.call("POST", LOGS, TEXT)).status_code == 201
    refused = await api.call("POST", LOGS, TEXT)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "6")
    assert (await api.call("POST", LOGS.replace("d1", "d2"), TEXT)).status_code == 201
    api.clock.time += 6
    assert (await api.call("POST", LOGS, TEXT)).status_code == 201


async def test_the_same_upload_once(api: Api) -> None:
    """With an Idempotency-Key a repetition keeps nothing more."""
    answers = [
        await api.call("POST", LOGS, TEXT, headers={"Idempotency-Key": "k"}) for _ in range(2)
    ]
    assert [each.status_code for each in answers] == [201, 201]
    assert (await api.call("GET", LOGS)).json() == {"logs": [answers[0].json()]}


async def test_logs_are_the_devices_own(api: Api) -> None:
    """Another device's key finds nothing, and what goes with the device is gone."""
    await api.device(name="d2")
    log = (await api.call("POST", LOGS, TEXT)).json()["id"]
    other = await api.device_key(name="d2")
    for method, path in (("GET", LOGS), ("POST", LOGS), ("GET", f"{LOGS}/{log}")):
        answer = await api.call(method, path, TEXT if method == "POST" else None, key=other)
        assert answer.status_code == 404
    elsewhere = f"/v1/accounts/101/devices/d2/logs/{log}"
    assert (await api.call("GET", elsewhere)).status_code == 404
    await api.call("DELETE", DEVICE)
    await api.device()
    assert (await api.call("GET", LOGS)).json() == {"logs": []}
