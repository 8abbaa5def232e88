"""runtime.pbx_bindings: who is asked whether a PBX still has our Contacts."""

from push_proxy.core.model import Address
from push_proxy.runtime.pbx_bindings import PbxBindings

HERE = ("office", Address("192.0.2.1", 5060))
THERE = ("office", Address("192.0.2.2", 5060))


def test_those_heard_of_longest_ago_are_asked_first() -> None:
    """Accounts that refresh often would vouch for a PBX that has lost all the others."""
    bindings = PbxBindings()
    for number in range(6):
        bindings.put(number, HERE)
    for _ in range(3):
        for often in (0, 1, 2):
            bindings.put(often, HERE)
    assert bindings.turn(HERE, 2) == (3, 4)
    assert bindings.turn(HERE, 2) == (5, 0)
    assert bindings.turn(HERE, 9) == (1, 2, 3, 4, 5, 0)


def test_a_binding_is_at_one_place() -> None:
    """Registered elsewhere it has left; gone it is nowhere; nothing is kept of empty places."""
    bindings = PbxBindings()
    bindings.put(1, HERE)
    bindings.put(1, THERE)
    assert (bindings.at(HERE), bindings.at(THERE)) == ((), (1,))
    assert bindings.place(1) == THERE
    bindings.put(1, None)
    bindings.put(1, None)
    assert bindings.place(1) is None
    assert bindings._places == {}
