"""Which node has which shard: evenly, and with few moves when nodes come and go."""

from hypothesis import given
from hypothesis import strategies as st

from push_proxy.core.ids import AccountKey
from push_proxy.core.shards import SHARDS, by_shard, distribution, shard_of, share_of

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=20)


def clusters(most: int = 12) -> st.SearchStrategy[set[str]]:
    return st.sets(NAMES, min_size=1, max_size=most)


def test_an_account_has_the_same_shard_for_ever() -> None:
    """The shard is part of what nodes of different versions agree on: it must never change."""
    assert shard_of(AccountKey("acme/101")) == 139
    assert by_shard([AccountKey("acme/101")]) == {139: ["acme/101"]}


def test_accounts_spread_over_all_shards() -> None:
    """Numbered extensions, as operators have them, do not gather in a few shards."""
    found = by_shard(AccountKey(f"acme/{number}") for number in range(25_600))
    assert len(found) == SHARDS
    assert max(map(len, found.values())) < 2 * 100


@given(clusters())
def test_every_shard_has_one_node_and_all_nodes_nearly_as_many(nodes: set[str]) -> None:
    """No node has more than its part; up to four nodes, none has clearly less."""
    found = distribution(nodes)
    assert set(found) == set(range(SHARDS))
    sizes = [len(share_of(node, nodes)) for node in nodes]
    assert sum(sizes) == SHARDS
    assert max(sizes) <= -(-SHARDS // len(nodes))
    if len(nodes) <= 4:
        assert min(sizes) >= 0.9 * SHARDS / len(nodes)


@given(clusters(), NAMES)
def test_a_node_that_comes_moves_little_more_than_its_part(nodes: set[str], other: str) -> None:
    """Of the moves that a join causes, most are to the new node, and they are not twice its part.

    Going is the same read backwards.
    """
    before, after = distribution(nodes - {other}), distribution(nodes | {other})
    if not before:
        return
    moved = [shard for shard in range(SHARDS) if before[shard] != after[shard]]
    assert len(moved) <= 2 * SHARDS / len(nodes | {other}) + 1
    assert sum(after[shard] == other for shard in moved) >= len(moved) / 2


@given(clusters())
def test_all_nodes_work_out_the_same(nodes: set[str]) -> None:
    """The order in which a node learnt of the others has no part in it."""
    assert distribution(sorted(nodes)) == distribution(sorted(nodes, reverse=True))


def test_without_nodes_nothing_is_distributed() -> None:
    """A node that sees nobody, not even itself, takes nothing."""
    assert not distribution([])
    assert share_of("a", []) == frozenset()
