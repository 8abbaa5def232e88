"""The operators' keys at start."""

from push_proxy.http.bootstrap import first_key_text, load_keys
from push_proxy.http.callers import Callers, Operator, new_key
from push_proxy.runtime.directory import Directory
from push_proxy.settings_file import check
from push_proxy.store.memory import MemoryStore

from .conftest import Clock

CONFIGURED = {
    "http": {
        "api_keys": [{"name": "k", "tenant": "acme", "key_sha256": "0" * 64, "scopes": ["calls"]}]
    }
}


async def test_the_first_start_makes_one_key_and_keeps_its_hash() -> None:
    """It opens everything of the tenant default; a second start makes none and knows it."""
    clock = Clock()
    store = MemoryStore(clock)
    callers = Callers(Directory(store, clock))
    key = new_key()
    assert await load_keys(callers, check({}), store, key)
    assert key in first_key_text(key)
    assert key not in repr(store.__dict__)
    caller = callers.find(key)
    assert isinstance(caller, Operator)
    assert (caller.tenant, len(caller.scopes)) == ("default", 3)
    later = Callers(Directory(store, clock))
    assert not await load_keys(later, check({}), store, new_key())
    assert later.find(key) == caller


async def test_no_key_is_made_when_one_is_configured() -> None:
    """The operator has decided."""
    clock = Clock()
    store = MemoryStore(clock)
    callers = Callers(Directory(store, clock))
    assert not await load_keys(callers, check(CONFIGURED), store, new_key())
    assert await store.api_keys() == ()
