"""What docs/pbx-recipes.md tells operators to write, as they write it."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest

from tests.lab.asterisk import Asterisk, AsteriskOptions, Extension
from tests.lab.asterisk.fixtures import StartAsterisk
from tests.lab.phone import Caller
from tests.lab.ports import free_block
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions

from .stage import REALM, desk_caller

pytestmark = pytest.mark.asterisk
PAGE = Path(__file__).parents[2] / "docs" / "pbx-recipes.md"
CALLER = Extension("200")


def recipe(name: str) -> str:
    """The block of this name on the page."""
    found = re.search(rf"```ini recipe={name}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, f"{PAGE.name} has no recipe {name}"
    return found[1]


def dialplan() -> str:
    """The line for `extensions.conf` on the page."""
    found = re.search(r"`(exten => _9XX[^`]*)`", PAGE.read_text())
    assert found, f"{PAGE.name} has no line for extensions.conf"
    return found[1]


async def answers(service: LabService, caller: Caller, user: str, password: str) -> str:
    """A call wakes the phone of `user`, which answers and hangs up; the verdict."""
    aor = f"sip:{user}@{REALM}"
    async with service.phone(aor, password=password) as phone, caller:
        call = caller.call(aor)
        await call.expect(180, within=10)
        assert (await phone.register()).status == 200
        dialog = await (await phone.incoming()).answer()
        await call.answered()
        assert (await dialog.bye()).status == 200
    record = await service.call_record(account=user)
    return str(record["verdict"])


async def available(asterisk: Asterisk, endpoint: str) -> None:
    """Waits until Asterisk has had an answer from there."""
    deadline = time.monotonic() + 10
    wanted = re.compile(rf"Contact:\s+{endpoint}/\S+\s+\S+\s+Avail\b")
    while not wanted.search(shown := await asterisk.command("pjsip show contacts")):
        assert time.monotonic() < deadline, shown
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("name", ["asterisk-hold", "freepbx-hold"])
async def test_hold(
    start_asterisk: StartAsterisk, workdir: Path, push_sink: PushSink, name: str
) -> None:
    """An extension as the page has it: we register there, and a call wakes its phone."""
    text = recipe(name)
    asterisk = await start_asterisk(AsteriskOptions(realm=REALM, extensions=(CALLER,), pjsip=text))
    options = ServiceOptions(
        webhook_url=push_sink.url,
        webhook_key=push_sink.key,
        pbxes={"office": {"registrar": asterisk.uri()}},
    )
    async with LabService(workdir / "service", options) as service:
        password = "a-long-secret"
        assert f"password={password}" in text
        await service.put_account("101", f"sip:101@{REALM}", pbx="office", password=password)
        await service.put_device("101")
        await service.is_registered("101")
        assert await answers(service, desk_caller(asterisk, "200"), "101", password) == "answered"


async def test_trunk(start_asterisk: StartAsterisk, workdir: Path, push_sink: PushSink) -> None:
    """A peer as the page has it: Asterisk calls us for the mobile users, and their phones wake."""
    port = free_block(2)
    text = recipe("asterisk-trunk")
    # All are on one address here: only the port tells us from the caller.
    for there, here in (
        ("push.example.com:5060", f"127.0.0.1:{port}"),
        ("match=192.0.2.20", f"match=127.0.0.1:{port}"),
    ):
        assert there in text
        text = text.replace(there, here)
    asterisk = await start_asterisk(
        AsteriskOptions(realm=REALM, extensions=(CALLER,), pjsip=text, dialplan=dialplan())
    )
    options = ServiceOptions(
        webhook_url=push_sink.url,
        webhook_key=push_sink.key,
        pbxes={"office": {"registrar": asterisk.uri(), "peers": ["127.0.0.1"]}},
    )
    async with LabService(workdir / "service", options, sip_port=port) as service:
        app = {"user": "901", "realm": REALM, "password": "another-secret"}
        await service.put_account(
            "901", f"sip:901@{REALM}", pbx="office", topology="trunk", app_auth=app
        )
        await service.put_device("901")
        # Asterisk was there first, found nobody, and would look again in half a minute.
        await asterisk.command("pjsip qualify push-proxy")
        await available(asterisk, "push-proxy")
        caller = desk_caller(asterisk, "200")
        assert await answers(service, caller, "901", "another-secret") == "answered"
