"""The scripted PBX judges registrations strictly, and misbehaves only on command."""

import pytest

from tests.lab.pbx import SILENCE, Answer, Pbx
from tests.lab.phone import Phone
from tests.lab.sip_agent import UnexpectedSipError


def phone_of(pbx: Pbx, user: str = "101", password: str | None = None) -> Phone:
    return Phone(pbx.aor(user), proxy=pbx.agent.address, password=password or pbx.password(user))


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_digest(algorithm: str) -> None:
    """Both algorithms are offered and either one is taken; a wrong password binds nothing."""
    async with Pbx(algorithms=("SHA-256", "MD5")) as pbx:
        async with phone_of(pbx) as phone:
            assert (await phone.register(algorithm=algorithm)).status == 200
            assert (await pbx.registered("101")).uri == phone.contact
            assert [r.status for r in pbx.registrations] == [401, 200]
        async with phone_of(pbx, "102", "wrong") as thief:
            assert (await thief.register(algorithm=algorithm)).status == 401
            assert "102" not in pbx.bindings


async def test_stale_nonce(pbx: Pbx) -> None:
    """A right answer to a forgotten nonce is challenged with stale=true."""
    async with phone_of(pbx) as phone:
        await phone.register()
        answered = pbx.registrations[-1].message.header("Authorization")
        pbx.forget_nonces()
        data = phone.register_request(headers=(("Authorization", answered),))
        response = await phone.agent.request(data, pbx.agent.address)
        assert response.status == 401
        assert "stale=true" in response.header("WWW-Authenticate")


async def test_script(pbx: Pbx) -> None:
    """Scripted answers and silence come first, then the registrar judges again."""
    async with phone_of(pbx) as phone:
        pbx.answers += [Answer(503, "Busy", (("Retry-After", "7"),)), SILENCE]
        assert (await phone.register()).header("Retry-After") == "7"
        with pytest.raises(UnexpectedSipError):
            await phone.register(within=0.1)
        assert (await phone.register()).status == 200
        assert [r.status for r in pbx.registrations] == [503, 0, 401, 200]


async def test_limits(pbx: Pbx) -> None:
    """423 below the minimum, a cut above the maximum, eviction with single_contact."""
    pbx.min_expires_s, pbx.max_expires_s, pbx.single_contact = 30, 90, True
    async with phone_of(pbx) as first, phone_of(pbx) as second:
        assert (await first.register(expires_s=29)).header("Min-Expires") == "30"
        assert "expires=90" in (await first.register(expires_s=600)).header("Contact")
        await second.register()
        assert list(pbx.bindings["101"]) == [second.contact]


async def test_calls_its_user(pbx: Pbx) -> None:
    """It calls the registered contact, qualifies it, and is left without one after `Expires: 0`."""
    async with phone_of(pbx) as phone:
        await phone.register()
        assert (await pbx.options("101")).status == 200
        call = pbx.call("101")
        incoming = await phone.incoming()
        assert incoming.invite.uri == phone.contact
        incoming.accept()
        dialog = await call.answered()
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
        await phone.unregister()
        await pbx.unregistered("101")
