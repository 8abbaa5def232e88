"""Every real phone behind the service with Asterisk, over each transport that it speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab.baresip import Baresip
from tests.lab.fixtures import MakeBaresip, MakeLinphone, MakePjsua2
from tests.lab.linphone import Linphone
from tests.lab.pjsua2 import Pjsua2
from tests.lab.sipp import Sipp, SippRun

from .conftest import MakeCaller, MakeDesk, MakeSleeper
from .stage import REALM, TRANSPORTS, Sleeper

pytestmark = pytest.mark.asterisk
RealPhone = Baresip | Linphone | Pjsua2
KINDS = ["baresip", "linphone", "pjsua2"]


@dataclass(frozen=True, slots=True)
class Phones:
    """Makes any of them, asleep."""

    baresip: MakeBaresip
    linphone: MakeLinphone
    pjsua2: MakePjsua2

    def make(self, kind: str, ext: Sleeper, transport: str, **fields: Any) -> RealPhone:
        if kind == "baresip":
            return ext.baresip(self.baresip, transport=transport)
        assert ext.believes is not None
        common = {
            "domain": REALM,
            "proxy": ext.service.sip_at(transport),
            "password": ext.password,
            "transport": transport,
            "ca": ext.believes.ca,
        }
        if kind == "linphone":
            return self.linphone(ext.user, realm=REALM, **common)
        return self.pjsua2(ext.user, **common, **fields)


@pytest.fixture
def phones(
    make_baresip: MakeBaresip, make_linphone: MakeLinphone, make_pjsua2: MakePjsua2
) -> Phones:
    return Phones(make_baresip, make_linphone, make_pjsua2)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", KINDS)
async def test_called(
    sleeper: MakeSleeper, callers: MakeCaller, phones: Phones, kind: str, transport: str
) -> None:
    """It is woken, answers, holds and resumes, and takes the caller's BYE; the next call it hangs
    up itself.
    """
    ext = await sleeper(by=transport)
    caller = await callers()
    phone = phones.make(kind, ext, transport)
    ext.wake_on_push(phone.start)
    dialog = await caller.call(ext.aor).answered(within=10)
    await phone.established()
    await phone.hold()
    await phone.resume()
    assert (await dialog.bye()).status == 200
    await phone.ended()
    dialog = await caller.call(ext.aor).answered()
    await phone.established()
    await phone.hang_up()
    await dialog.expect_bye()
    # On a busy machine it takes more than 5 s to wake and is pushed again: for the same call.
    assert len({push.call_id for push in ext.sink.pushes if push.type == "call"}) == 1
    await ext.service.eventually(
        lambda: ext.service.expect("GET", f"/v1/calls?account={ext.account}&verdict=answered"),
        lambda page: len(page["calls"]) == 2,
        within=3,
        what="two answered calls",
    )


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", KINDS)
async def test_calls_out(
    sleeper: MakeSleeper, desks: MakeDesk, phones: Phones, kind: str, transport: str
) -> None:
    """It calls a desk phone at Asterisk, which answers and hangs up."""
    ext = await sleeper(by=transport)
    far = await desks()
    phone = phones.make(kind, ext, transport, dials=far.aor)
    await phone.start()
    if not isinstance(phone, Pjsua2):
        await phone.registered()
        await phone.dial(far.aor)
    dialog = await (await far.incoming()).answer()
    await phone.established()
    assert (await dialog.bye()).status == 200
    await phone.ended()
    record = await ext.record()
    assert (record["direction"], record["verdict"]) == ("outgoing", "answered")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_sipp_is_called(
    sleeper: MakeSleeper, callers: MakeCaller, sipp: Sipp, transport: str
) -> None:
    """SIPp's phone registers when it is pushed, answers and takes the BYE."""
    ext = await sleeper(by=transport)
    caller = await callers()
    runs: list[SippRun] = []

    async def wake() -> None:
        runs.append(
            sipp.phone(
                "uas-answer",
                registrar=ext.service.sip_at(transport),
                user=ext.user,
                domain=REALM,
                password=ext.password,
                transport=transport,
            )
        )

    ext.wake_on_push(wake)
    dialog = await caller.call(ext.aor).answered(within=10)
    await runs[0].wait_received("ACK")
    assert (await dialog.bye()).status == 200
    assert (await ext.record())["verdict"] == "answered"
