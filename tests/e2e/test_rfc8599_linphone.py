"""Linphone announces itself by REGISTER (RFC 8599) and is woken by FCM: nothing else is set up."""

from __future__ import annotations

import re
from typing import Any

from tests.doubles.fcm import FcmDouble
from tests.lab.fixtures import MakeLinphone
from tests.lab.phone import Caller
from tests.lab.service import APP_ID, ServiceOptions

from .conftest import REALM, Stage, StartService


async def test_linphone_is_woken_by_what_it_registered(
    stage: Stage, start_service: StartService, fcm: FcmDouble, make_linphone: MakeLinphone
) -> None:
    """Its REGISTER with push parameters makes device and registration at the PBX; then it is
    killed, and a call through the PBX pushes, starts it, and is answered. The PBX sees no token.
    """
    google = {
        "app_id": APP_ID,
        "service_account_file": str(fcm.service_account_file),
        "base_url": fcm.base_url,
        "ca_file": str(fcm.ca_file),
    }
    service = await start_service(ServiceOptions(extra={"providers": {"fcm": [google]}}))
    pbx, user = stage.hold, "6101"
    aor = f"sip:{user}@{REALM}"
    account: dict[str, Any] = {"registrar": pbx.uri("udp"), "password": pbx.password(user)}
    await service.put_account("linphone", aor, **account)
    target = fcm.device()
    push = f"pn-provider=fcm;pn-param=lab-project;pn-prid={target.token}"
    linphone = make_linphone(
        user,
        domain=REALM,
        proxy=service.sip_address,
        password=pbx.password(user),
        realm=REALM,
        contact_parameters=f"{push};pn-timeout=0;pn-silent=1;pn-msg-str=IM_MSG;pn-call-str=IC_MSG",
    )
    await linphone.start()
    await linphone.registered()
    await service.is_registered("linphone")
    listed = await service.expect("GET", "/v1/accounts/linphone/devices")
    (device,) = listed["devices"]
    assert re.fullmatch("pn-[0-9a-f]{12}", device["device"])
    linphone.kill()

    # Its process has gone without a word: over UDP that shows when it is asked.
    target.deliver = lambda _: linphone.start()
    async with Caller(
        f"sip:9001@{REALM}", proxy=pbx.address, password=pbx.password("9001")
    ) as caller:
        call = caller.call(aor)
        dialog = await call.answered(within=20)
        await linphone.established()
        dialog.send("BYE")
        await linphone.ended()
    record = await service.call_record(account="linphone")
    assert record["verdict"] == "answered"
    assert [delivery.data["type"] for delivery in target.received] == ["call"]
    assert target.token not in pbx.process.output()
    assert target.token not in service.process.output()
