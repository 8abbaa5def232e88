"""Which node does an account's work that must be done once: accounts in shards, shards on nodes.

Every node works out the same distribution from the same list of nodes; no node is asked.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from zlib import crc32

from .ids import AccountKey

SHARDS = 256
"""Few enough that all are renewed in one round trip, many enough to be spread over some dozens of
nodes. Part of what is stored: all nodes of a cluster must agree on it."""


def shard_of(account: AccountKey) -> int:
    """The shard of an account, for ever the same."""
    return crc32(account.encode()) % SHARDS


def by_shard(accounts: Iterable[AccountKey]) -> dict[int, list[AccountKey]]:
    """Accounts by their shards."""
    found: dict[int, list[AccountKey]] = {}
    for account in accounts:
        found.setdefault(shard_of(account), []).append(account)
    return found


def distribution(nodes: Collection[str]) -> Mapping[int, str]:
    """The node of each shard; nothing without nodes.

    Rendezvous hashing with a limit: pairs of shard and node are taken by their hash, and a node
    that has its part takes no more. So nodes have nearly the same number of shards, and a node that
    comes or goes moves little more than its own.
    """
    return _distribution(frozenset(nodes))


def share_of(node: str, nodes: Collection[str]) -> frozenset[int]:
    """The shards of one node."""
    return frozenset(shard for shard, owner in distribution(nodes).items() if owner == node)


@lru_cache(maxsize=16)
def _distribution(nodes: frozenset[str]) -> Mapping[int, str]:
    if not nodes:
        return {}
    most = -(-SHARDS // len(nodes))
    load = dict.fromkeys(nodes, 0)
    pairs = sorted(
        ((_weight(node, shard), shard, node) for node in nodes for shard in range(SHARDS)),
        reverse=True,
    )
    found: dict[int, str] = {}
    for _, shard, node in pairs:
        if shard not in found and load[node] < most:
            found[shard] = node
            load[node] += 1
    return found


def _weight(node: str, shard: int) -> bytes:
    return blake2b(f"{shard} {node}".encode(), digest_size=8).digest()
