"""The simulated phone over TCP and TLS, with Kamailio as its PBX."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.certificates import Authority
from tests.lab.fixtures import StartKamailio
from tests.lab.kamailio import Kamailio, KamailioOptions, pbx_tls
from tests.phone.driver import PhoneProcess


@pytest.fixture
async def pbx(start_kamailio: StartKamailio, authority: Authority) -> Kamailio:
    return await start_kamailio(KamailioOptions(tls=pbx_tls(authority.issue())))


def options(pbx: Kamailio, user: str, transport: str) -> list[str]:
    where = "sip:{}:{}".format(*pbx.address_for(transport))
    return [
        *("--aor", f"sip:{user}@{pbx.options.realm}", "--password", pbx.password(user)),
        *("--proxy", where, "--registrar", where, "--transport", transport),
    ]


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_call_with_rtp(
    pbx: Kamailio, workdir: Path, authority: Authority, transport: str
) -> None:
    """Registered and called over one connection, with a tone both ways."""
    believe = ["--ca-file", str(authority.ca)]
    awake = PhoneProcess(
        workdir, "phone", *options(pbx, "101", transport), *believe, "--awake", "--calls", "1"
    )
    async with awake as phone:
        await phone.event("registered")
        (binding,) = await pbx.bindings("101")
        assert f";transport={transport}" in binding.uri.lower()
        calling = PhoneProcess(
            workdir,
            "caller",
            *options(pbx, "200", "udp"),
            *("--no-register", "--call", f"sip:101@{pbx.options.realm}", "--hangup-after", "0.6"),
        )
        async with calling:
            assert await calling.process.wait_exit(within_s=15) == 0
        assert (await phone.event("bye"))["rtp"]["received_packets"] > 10
    await pbx.wait_for(event="response", method="INVITE", status=200, proto=transport)


async def test_verification_is_the_default(
    pbx: Kamailio, workdir: Path, authority: Authority
) -> None:
    """A PBX whose certificate another authority has signed is not registered with, unless told."""
    stranger = Authority(authority.directory / "stranger")
    arguments = [*options(pbx, "101", "tls"), "--awake"]
    wary = PhoneProcess(workdir, "wary", *arguments, "--ca-file", str(stranger.ca))
    async with wary as phone:
        assert (await phone.event("register_failed"))["code"] == 503
        assert await pbx.bindings("101") == []
    async with PhoneProcess(workdir, "trusting", *arguments, "--no-verify") as phone:
        await phone.event("registered")


async def test_reconnects(start_kamailio: StartKamailio, workdir: Path) -> None:
    """A phone whose connection is lost registers again by itself, on a new one."""
    pbx = await start_kamailio(KamailioOptions())
    async with PhoneProcess(workdir, "phone", *options(pbx, "101", "tcp"), "--awake") as phone:
        await phone.event("registered")
        await pbx.restart()
        await phone.event("registered", nth=2)
        assert len(await pbx.bindings("101")) == 1
