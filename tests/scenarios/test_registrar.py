"""The registrar for the apps: digest, bindings, refusals (RFC 3261 §10.3)."""

import pytest

from tests.lab.phone import Phone
from tests.lab.sip_agent import new_branch, new_call_id
from tests.lab.sip_digest import Credentials, answer_challenge, digest_fields
from tests.lab.sip_message import Message, parameter, uri_of

from .conftest import Extension, MakeExtension


def contacts(response: Message) -> dict[str, int]:
    return {uri_of(value): int(parameter(value, "expires")) for value in response.listed("Contact")}


async def challenge(phone: Phone) -> Message:
    response = await phone.agent.request(phone.register_request(), phone.proxy)
    assert response.status == 401
    return response


async def asleep(ext: Extension) -> bool:
    account = await ext.service.expect("GET", f"/v1/accounts/{ext.account}")
    return all(d["reachability"] == "asleep" for d in account["status"]["devices"])


async def test_challenge(extension: MakeExtension) -> None:
    """REGISTER is challenged in the account's realm with both algorithms when we hold the
    password, each with qop=auth and the same nonce.
    """
    ext = await extension()
    async with ext.phone() as phone:
        response = await challenge(phone)
    offers = [digest_fields(value) for value in response.all("WWW-Authenticate")]
    assert {offer["algorithm"] for offer in offers} == {"MD5", "SHA-256"}
    assert {(offer["realm"], offer["qop"]) for offer in offers} == {("pbx.test", "auth")}
    assert len({offer["nonce"] for offer in offers}) == 1


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_register(extension: MakeExtension, algorithm: str) -> None:
    """A right answer in either algorithm binds the Contact, verbatim, for what was asked; the
    account's status shows the device as registered.
    """
    ext = await extension()
    phone = ext.phone()
    response = await phone.register(expires_s=300, algorithm=algorithm)
    assert response.status == 200
    assert contacts(response) == {phone.contact: 300}
    assert not await asleep(ext)
    fetched = await phone.register(contact="", expires_s=None)
    assert contacts(fetched)[phone.contact] in (299, 300)
    response = await phone.unregister()
    assert (response.status, contacts(response)) == (200, {})
    assert await asleep(ext)


async def test_app_auth(extension: MakeExtension) -> None:
    """With app_auth the app proves that, in its own realm, and not the PBX's password."""
    app_auth = {"user": "app-user", "realm": "apps.test", "password": "app secret"}
    ext = await extension(app_auth=app_auth)
    phone = ext.phone(password="app secret", auth_user="app-user")
    async with phone:
        offers = (await challenge(phone)).all("WWW-Authenticate")
        assert {digest_fields(value)["realm"] for value in offers} == {"apps.test"}
        assert (await phone.register()).status == 200
    assert (await ext.phone().register()).status == 401


async def test_wrong_password(extension: MakeExtension) -> None:
    """A wrong password gets 401 again, and nothing is bound."""
    ext = await extension()
    assert (await ext.phone(password="wrong").register()).status == 401
    assert await asleep(ext)


async def test_register_of_anothers_aor(extension: MakeExtension) -> None:
    """One extension's right credentials do not bind a Contact to another extension."""
    ext, other = await extension(), await extension()
    thief = ext.service.phone(other.aor, password=ext.pbx.password(ext.user), auth_user=ext.user)
    async with thief:
        assert (await thief.register()).status == 401
    assert await asleep(other)


async def test_nonce_of_another_host(extension: MakeExtension) -> None:
    """Credentials made with a nonce that another host was given are turned down as stale."""
    ext = await extension()
    credentials = Credentials(ext.user, ext.pbx.password(ext.user))
    async with ext.phone() as phone, ext.phone(host="127.0.0.2") as other:
        response = await challenge(phone)
        answer = answer_challenge(response, credentials, method="REGISTER", uri="sip:pbx.test")
        stolen = await other.agent.request(other.register_request(headers=(answer,)), other.proxy)
        assert stolen.status == 401
        assert digest_fields(stolen.header("WWW-Authenticate"))["stale"] == "true"
        own = await phone.agent.request(phone.register_request(headers=(answer,)), phone.proxy)
        assert own.status == 200


async def test_replay(extension: MakeExtension) -> None:
    """The same nonce count again is turned down as stale; the next one is right. A true
    retransmission, by its branch, gets the same answer again.
    """
    ext = await extension()
    credentials = Credentials(ext.user, ext.pbx.password(ext.user))
    async with ext.phone() as phone:
        response = await challenge(phone)
        answers = [
            answer_challenge(response, credentials, method="REGISTER", uri="sip:pbx.test", nc=nc)
            for nc in (1, 1, 2)
        ]
        statuses = []
        for answer in (answers[0], answers[0], answers[2]):
            request = phone.register_request(headers=(answer,))
            statuses.append((await phone.agent.request(request, phone.proxy)).status)
        assert statuses == [200, 401, 200]
        repeated = await phone.agent.request(request, phone.proxy)
        assert repeated.status == 200


async def test_captured_register_with_another_contact(extension: MakeExtension) -> None:
    """A captured REGISTER, sent again with another Contact, binds nothing."""
    ext = await extension()
    phone = ext.phone()
    await phone.register()
    captured = phone.agent.sent[-1][1]
    old_branch = phone.agent.sent[-1][1].split(b"branch=")[1].split(b"\r\n")[0]
    forged = captured.replace(phone.contact.encode(), b"sip:thief@127.0.0.1:9")
    forged = forged.replace(old_branch, new_branch().encode())
    assert (await phone.agent.request(forged, phone.proxy)).status == 401
    assert list(contacts(await phone.register(contact="", expires_s=None))) == [phone.contact]


async def test_too_brief(extension: MakeExtension) -> None:
    """Less than 60 s gets 423 with Min-Expires; more than an hour is cut."""
    ext = await extension()
    phone = ext.phone()
    response = await phone.register(expires_s=59)
    assert (response.status, response.get("Min-Expires")) == (423, "60")
    assert await asleep(ext)
    assert contacts(await phone.register(expires_s=60)) == {phone.contact: 60}
    assert contacts(await phone.register(expires_s=86_400)) == {phone.contact: 3600}


async def test_remove_all(extension: MakeExtension) -> None:
    """`Contact: *` with Expires 0 removes every binding; with another Expires it is 400."""
    ext = await extension("a", "b")
    first, second = ext.phone("a"), ext.phone("b")
    await first.register()
    assert len(contacts(await second.register())) == 2
    assert (await second.register(contact="*", expires_s=60)).status == 400
    response = await second.register(contact="*", expires_s=0)
    assert (response.status, contacts(response)) == (200, {})
    ext.call()
    await ext.pushed(2)


async def test_order_of_registers(extension: MakeExtension) -> None:
    """A REGISTER older than the binding's, by CSeq within its Call-ID, changes nothing."""
    ext = await extension()
    phone = ext.phone()
    await phone.register()
    newest = phone.registration_cseq
    phone.registration_cseq = newest - 2
    stale = await phone.register(expires_s=0)
    assert stale.status >= 400
    phone.registration_cseq = newest + 1
    assert phone.contact in contacts(await phone.register(contact="", expires_s=None))
    phone.registration_call_id = new_call_id()
    phone.registration_cseq = 0
    assert (await phone.register()).status == 200


async def test_several_devices(extension: MakeExtension) -> None:
    """Devices are told apart by their instance; one that moves to another port replaces itself."""
    ext = await extension("a", "b")
    first, second, moved = ext.phone("a"), ext.phone("b"), ext.phone("a")
    await first.register()
    await second.register()
    response = await moved.register()
    assert contacts(response).keys() == {second.contact, moved.contact}


async def test_domain_is_our_own_address(extension: MakeExtension) -> None:
    """An app may use our address for its domain: the account is found by its user."""
    ext = await extension()
    phone = ext.service.phone(f"sip:{ext.user}@127.0.0.1", password=ext.pbx.password(ext.user))
    ext.phones.append(phone)
    assert (await phone.register()).status == 200
    assert not await asleep(ext)


async def test_unsupported(extension: MakeExtension) -> None:
    """What is required and not supported is refused by name."""
    ext = await extension()
    phone = ext.phone()
    response = await phone.register(headers=(("Require", "outbound, gruu"),))
    assert (response.status, response.get("Unsupported")) == (420, "outbound, gruu")


async def test_binding_survives_a_quick_reregistration(extension: MakeExtension) -> None:
    """A refresh keeps the device reachable throughout: calls between two REGISTERs reach it."""
    ext = await extension()
    phone = ext.phone()
    for _ in range(3):
        assert (await phone.register()).status == 200
        call = ext.call()
        incoming = await phone.incoming()
        incoming.reject(486, "Busy Here")
        assert (await call.final()).status == 486
