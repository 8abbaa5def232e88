"""Phones that fall silent: asked once by a push, then without token. Days are seconds here."""

from tests.lab.pbx import Pbx
from tests.lab.push_sink import PushSink
from tests.lab.service import ServiceOptions

from .conftest import StartService

DAY_S = 86_400.0
IDLE_S, REFRESH_S = 9.0, 6.0


async def test_a_silent_phone_is_asked_once_and_then_given_up(
    start_service: StartService, pbx: Pbx, push_sink: PushSink
) -> None:
    """A refresh push about no call, six of these seconds before the end, and none more over a
    restart; the phone that answers it by a PUT stays, the other one's token and registration go.
    """
    limits = {"idle_days": IDLE_S / DAY_S, "refresh_days": REFRESH_S / DAY_S}
    service = await start_service(
        ServiceOptions(
            webhook_url=push_sink.url, webhook_key=push_sink.key, extra={"devices": limits}
        )
    )
    for user in ("101", "102"):
        aor = f"sip:{user}@{pbx.realm}"
        await service.put_account(
            user, aor, registrar=f"sip:{pbx.domain}", password=pbx.password(user)
        )
        await service.put_device(user)
        await pbx.registered(user)
    pushes = await push_sink.wait(2, kind="refresh", within=REFRESH_S + 3)
    assert {push.payload["account"] for push in pushes} == {"101", "102"}
    assert all("call_id" not in push.payload for push in pushes)
    await service.stop()
    await service.start()
    await service.put_device("101")
    await pbx.unregistered("102", within=IDLE_S + 3)
    shown = await service.device_status("102")
    assert (shown["token"]["state"], shown["token"]["reason"]) == ("dead", "idle")
    assert (await service.device_status("101"))["token"]["state"] == "good"
    asked = [push.payload["account"] for push in push_sink.pushes]
    assert asked.count("102") == 1
