"""Accounts that the nodes register at a PBX, and what the PBX has of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

from push_proxy.core.ids import AccountKey
from push_proxy.core.shards import shard_of, share_of
from push_proxy.core.uri import SipUri
from push_proxy.demo.service import TENANT
from tests.lab.cluster import Cluster, Node
from tests.lab.kamailio import Kamailio, PbxEvent


class Extensions:
    """Extensions 300, 301, … of one PBX, each an account that is always registered."""

    def __init__(self, cluster: Cluster, pbx: Kamailio, count: int) -> None:
        self.cluster = cluster
        self.pbx = pbx
        self.users = [str(300 + number) for number in range(count)]

    async def put(self, **fields: Any) -> None:
        """Create the accounts; returns when the PBX has a Contact of each."""
        for user in self.users:
            body = {
                "aor": f"sip:{user}@{self.pbx.options.realm}",
                "registrar": f"sip:{self.pbx.domain}",
                "password": self.pbx.password(user),
                "register": "always",
                **fields,
            }
            async with asyncio.timeout(20):
                while True:
                    status, answer = await self.cluster[0].request(
                        "PUT", f"/v1/accounts/{user}", body
                    )
                    if status != 503:  # a busy machine's store is silent for a moment
                        break
                    await asyncio.sleep(0.2)
            assert status in (200, 201), answer
        await self.each_at_one_of(self.cluster.nodes, within_s=20)

    async def hosts(self) -> dict[str, list[str]]:
        """By user: the hosts of all Contacts that the PBX has."""
        found = {}
        for user in self.users:
            contacts = await self.pbx.bindings(user)
            found[user] = [SipUri.parse(contact.uri).host for contact in contacts]
        return found

    async def each_at_one_of(self, nodes: Iterable[Node], *, within_s: float) -> None:
        """Waits until each extension has exactly one Contact, at the node that is to have it."""
        hosts = {node.node: node.host for node in nodes}
        shares = {name: share_of(name, hosts) for name in hosts}
        wanted = {
            user: [hosts[name] for name in hosts if shard_of(self.key(user)) in shares[name]]
            for user in self.users
        }

        async with asyncio.timeout(within_s + 5):
            loop = asyncio.get_running_loop()
            end = loop.time() + within_s
            while (found := await self.hosts()) != wanted:
                wrong = {user: at for user, at in found.items() if at != wanted[user]}
                assert loop.time() < end, f"found {wrong}, wanted {wanted}"
                await asyncio.sleep(0.05)

    def at(self, node: Node, hosts: dict[str, list[str]]) -> list[str]:
        """The users whose Contact is at this node."""
        return [user for user, at in hosts.items() if at == [node.host]]

    def registers(self, *, since: int = 0) -> list[PbxEvent]:
        """REGISTERs that have arrived at the PBX, challenged ones and their repetitions too."""
        return [
            event
            for event in self.pbx.events()[since:]
            if event.event == "request" and event.method == "REGISTER"
        ]

    def from_node(self, node: Node, *, since: int = 0) -> Counter[str]:
        """REGISTERs that came from this node, by user."""
        found = self.registers(since=since)
        return Counter(event.to_user for event in found if event.source.startswith(node.host))

    @staticmethod
    def key(user: str) -> AccountKey:
        return AccountKey(f"{TENANT}/{user}")
