"""Linphone without a face: registered, called, held and hung up."""

from __future__ import annotations

import pytest

from tests.lab import sdp
from tests.lab.certificates import Authority
from tests.lab.fixtures import MakeLinphone, StartKamailio
from tests.lab.kamailio import KamailioOptions, pbx_tls
from tests.lab.phone import Caller
from tests.lab.process import ProcessError, poll_until


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_call(
    start_kamailio: StartKamailio,
    authority: Authority,
    make_linphone: MakeLinphone,
    transport: str,
) -> None:
    """It registers, rings, answers, takes a re-INVITE and hangs up."""
    pbx = await start_kamailio(KamailioOptions(tls=pbx_tls(authority.issue(for_linphone=True))))
    phone = make_linphone(
        "101",
        domain=pbx.options.realm,
        realm=pbx.options.realm,
        proxy=pbx.address_for(transport),
        password=pbx.password("101"),
        transport=transport,
        ca=authority.ca,
        auto_answer=False,
    )
    await phone.start()
    await phone.registered()
    (binding,) = await pbx.bindings("101")
    assert f";transport={transport}" in binding.uri
    async with Caller("sip:200@pbx.test", proxy=pbx.address, password="pw-200") as caller:
        call = caller.call("sip:101@pbx.test")
        await phone.ringing()
        await phone.answer()
        dialog = await call.answered()
        await phone.established()
        assert (await dialog.reinvite(sdp.HOLD)).status == 200
        await phone.hang_up()
        await dialog.expect_bye()
        await phone.ended()


async def test_unbelieved_certificate(
    start_kamailio: StartKamailio, authority: Authority, make_linphone: MakeLinphone
) -> None:
    """It does not register with a PBX that another authority vouches for."""
    stranger = Authority(authority.directory / "stranger").issue(for_linphone=True)
    pbx = await start_kamailio(KamailioOptions(tls=pbx_tls(stranger)))
    phone = make_linphone(
        "101",
        domain=pbx.options.realm,
        realm=pbx.options.realm,
        proxy=pbx.address_for("tls"),
        password=pbx.password("101"),
        transport="tls",
        ca=authority.ca,
    )
    await phone.start()
    refusal, log = "Certificate verification failed", phone.directory / "linphone.log"
    assert await poll_until(
        lambda: log.exists() and refusal in log.read_text(errors="replace"), within_s=20
    )
    with pytest.raises(ProcessError, match=refusal):
        await phone.registered(within=1)
