"""What an app developer builds: enrol, hand in a push target, wake, register, report, decline."""

from typing import Any

from tests.lab.phone import Phone

from .conftest import MakeExtension


async def test_an_app_with_its_own_key(extension: MakeExtension) -> None:
    """The backend makes a code, the app exchanges it for its key and hands in its push target;
    with what it was told it registers when it is pushed, reports its steps, sees this call and
    no other account's, and declines the next one from the push screen.
    """
    ext, stranger = await extension(), await extension()
    service = ext.service
    code = (await service.expect("POST", f"/v1/accounts/{ext.account}/enrolments", {}))["code"]
    status, enrolled = await service.request(
        "POST", "/v1/enrol", {"code": code, "device": "pocket"}, key="none"
    )
    assert status == 200, enrolled
    again, _ = await service.request(
        "POST", "/v1/enrol", {"code": code, "device": "thief"}, key="none"
    )
    assert again == 403
    key = enrolled["device_key"]

    async def app(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await service.request(method, path, body, key=key)

    push_target = {"provider": "webhook", "app_id": "com.example.phone", "token": "pocket-token"}
    status, device = await app(
        "PUT", f"/v1/accounts/{ext.account}/devices/pocket", {**push_target, "platform": "ios"}
    )
    assert status in (200, 201), device
    await service.expect("DELETE", f"/v1/accounts/{ext.account}/devices/handset")

    call = ext.call()
    (push,) = await ext.pushed()
    assert (push.payload["device"], push.payload["token"]) == ("pocket", "pocket-token")
    sip = device["sip"]
    host, port = sip["registrar"].removeprefix("sip:").split(":")
    phone = Phone(
        sip["aor"],
        proxy=(host, int(port)),
        auth_user=sip["user"],
        password=ext.pbx.password(ext.user),
    )
    ext.phones.append(phone)
    events = f"/v1/calls/{push.call_id}/events"
    assert (await app("POST", events, {"event": "push_received"}))[0] == 202
    incoming = await ext.rung(phone)
    assert incoming.invite.get("X-Push-ID") == push.call_id
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    dialog.send("BYE")
    await incoming.dialog().expect_bye()
    record = await ext.record(call)
    status, seen = await app("GET", f"/v1/calls/{push.call_id}")
    assert (status, seen["verdict"]) == (200, "answered")
    assert "push_received" in service.events(record, "pocket")

    phone.sleep()
    await phone.wake()
    await phone.register(contact="*", expires_s=0)
    second = ext.call()
    pushes = await ext.pushed(2)
    status, fate = await app("POST", f"/v1/calls/{pushes[1].call_id}/actions", {"action": "busy"})
    assert (status, fate["taken"]) == (202, True)
    assert (await second.final()).status == 486

    others = stranger.call()
    (not_ours,) = await stranger.pushed()
    for method, path, body in (
        ("GET", f"/v1/calls/{not_ours.call_id}", None),
        ("POST", f"/v1/calls/{not_ours.call_id}/actions", {"action": "decline"}),
        ("GET", f"/v1/accounts/{stranger.account}", None),
        ("PUT", f"/v1/accounts/{stranger.account}/devices/mine", push_target),
    ):
        assert (await app(method, path, body))[0] in (403, 404), path
    await others.cancel()
