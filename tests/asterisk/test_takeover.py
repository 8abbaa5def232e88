"""A node dies, and Asterisk gives an extension's only place to the next one."""

import asyncio
from pathlib import Path

import pytest

from push_proxy.core.uri import SipUri
from tests.lab.asterisk import Asterisk, AsteriskOptions, Extension
from tests.lab.asterisk.fixtures import StartAsterisk
from tests.lab.cluster import Cluster, ClusterOptions
from tests.lab.service import ServiceOptions

from .stage import REALM

pytestmark = pytest.mark.asterisk

USERS = tuple(str(number) for number in range(300, 306))


async def hosts(pbx: Asterisk) -> dict[str, list[str]]:
    """By user: the hosts of its Contacts."""
    return {
        user: [SipUri.parse(contact.uri).host for contact in await pbx.contacts(user)]
        for user in USERS
    }


async def until(pbx: Asterisk, wanted: set[str], *, within_s: float = 20.0) -> dict[str, list[str]]:
    """Each extension's only Contact is at one of these hosts, and each host has some."""
    async with asyncio.timeout(within_s):
        while True:
            found = await hosts(pbx)
            if all(len(at) == 1 for at in found.values()) and wanted == set().union(
                *found.values()
            ):
                return found
            await asyncio.sleep(0.1)


async def test_the_only_place_goes_from_node_to_node(
    start_asterisk: StartAsterisk, workdir: Path
) -> None:
    """max_contacts=1, nothing removed by itself: a second Contact would get 403. When a node dies,
    the other one's REGISTER takes its Contact out and puts its own in; when the node is back, the
    same the other way round.
    """
    pbx = await start_asterisk(
        AsteriskOptions(
            realm=REALM, extensions=tuple(Extension(user, max_contacts=1) for user in USERS)
        )
    )
    service = ServiceOptions(pbxes={"office": {"registrar": pbx.uri()}})
    cluster = Cluster(workdir / "cluster", ClusterOptions(count=2, service=service))
    try:
        await cluster.start()
        for user in USERS:
            await cluster.put_account(
                user,
                f"sip:{user}@{REALM}",
                pbx="office",
                password=pbx.password(user),
                register="always",
            )
        one, two = cluster.nodes
        await until(pbx, {one.host, two.host})
        one.kill()
        await until(pbx, {two.host})
        await one.restart()
        await until(pbx, {one.host, two.host})
        for user in USERS:
            assert (await two.registration(user))["state"] == "registered"
    finally:
        await cluster.stop()
