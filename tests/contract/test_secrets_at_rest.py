"""Secrets at rest: nothing in the server's files shows a password or token."""

import stat
from pathlib import Path

import pytest
import structlog
from redis.asyncio import Redis

from push_proxy.core.model import Algorithm, AppAuth, Credentials
from push_proxy.errors import ConfigurationError
from push_proxy.store.embedded import EmbeddedValkey
from push_proxy.store.redis import RedisStore
from push_proxy.store.secrets import KeyRing, load_key_ring, parse_key_ring

from .conftest import RING, HandClock
from .samples import (
    ACME,
    ALICE,
    HA1,
    PASSWORD,
    PHONE,
    PRID,
    TOKEN,
    account,
    app_log,
    binding,
    call,
    device,
)

KEY_A = "a:" + "A" * 43 + "="
KEY_B = "b:" + "B" * 43 + "="


def everything_in(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())


async def test_no_secret_in_any_file(folder: Path, valkey: EmbeddedValkey) -> None:
    """Neither the append-only file nor a dump holds a password, HA1, token or response."""
    store = RedisStore(valkey.url, ring=RING, clock=HandClock())
    await store.open()
    await store.put_account(account(), expected_version=0)
    app_auth = AppAuth(user="u", realm="r", credentials=Credentials(password="second-password"))
    credentials = Credentials(ha1={Algorithm.SHA256: "f" * 64}, realm="r")
    bob = account("bob", app_auth=app_auth, credentials=credentials)
    await store.put_account(bob, expected_version=0)
    await store.put_device(device(), expected_version=0)
    await store.put_binding(binding(HandClock().at))
    await store.put_call(call(HandClock().at))
    await store.idempotent(ACME, "k", b"minted-device-key", ttl_s=60)
    await store.put_app_log(ALICE, PHONE, app_log(HandClock().at), b"a-line-of-an-apps-log")
    route = await store.secret("route", size=32)
    async with Redis.from_url(valkey.url) as other:
        await other.config_set("rdbcompression", "no")
        await other.save()
    await store.aclose()
    await valkey.stop()
    content = everything_in(folder)
    assert b"sip:alice@acme.example.com" in content
    assert b"VALKEY0" in content, "the dump is there as well"
    secrets = (PASSWORD, HA1, TOKEN, PRID, "alert-token-secret", "second-password", "f" * 64,
               "minted-device-key", "a-line-of-an-apps-log")  # fmt: skip
    for secret in secrets:
        assert secret.encode() not in content, secret
    assert route not in content


async def test_ciphertext_is_bound_to_its_place(valkey: EmbeddedValkey) -> None:
    """A password copied to another account's record does not open there."""
    store = RedisStore(valkey.url, ring=RING, clock=HandClock())
    await store.open()
    await store.put_account(account(), expected_version=0)
    await store.put_account(account("bob"), expected_version=0)
    async with Redis.from_url(valkey.url) as other:
        data = await other.hget("pp:{acme/bob}:account", "data")  # type: ignore[misc]
        await other.hset("pp:{acme/alice}:account", "data", data)  # type: ignore[misc]
    with pytest.raises(ConfigurationError, match="changed or moved"):
        await store.get_account(ALICE)
    await store.aclose()


def test_same_secret_looks_different() -> None:
    """Two seals of one secret share nothing: equal passwords do not show."""
    assert RING.seal(b"x" * 16, "p") != RING.seal(b"x" * 16, "p")
    assert RING.unseal(RING.seal(b"x", "p"), "p") == b"x"


def test_key_file_is_made_once(folder: Path) -> None:
    """Without a configured key one is made, readable by its owner alone, said so, and kept."""
    with structlog.testing.capture_logs() as logs:
        ring = load_key_ring(keys=None, key_file=None, data_dir=folder / "data")
    assert "back it up" in logs[0]["event"]
    path = folder / "data" / "secrets.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    sealed = ring.seal(b"secret", "place")
    again = load_key_ring(keys=None, key_file=None, data_dir=folder / "data")
    assert again.unseal(sealed, "place") == b"secret"


def test_ring_from_environment_and_file(folder: Path) -> None:
    """The environment's ring goes before the file's; the first key seals, all open."""
    path = folder / "keys"
    path.write_text(f"# old keys stay below\n{KEY_B}  # since May\n\n{KEY_A}\n")
    ring = load_key_ring(keys=None, key_file=path, data_dir=folder)
    assert ring.seal(b"", "p").startswith("1.b.")
    old = load_key_ring(keys=KEY_A, key_file=path, data_dir=folder)
    assert ring.unseal(old.seal(b"x", "p"), "p") == b"x"
    assert parse_key_ring(f"{KEY_A},{KEY_B}", source="s").seal(b"", "p").startswith("1.a.")


@pytest.mark.parametrize(
    "text", ["", "# nothing", "no-colon", "a:short", f"{KEY_A}\n{KEY_A}", "a.b:" + "A" * 43 + "="]
)
def test_bad_ring(text: str) -> None:
    """A ring that cannot be used is refused by its source, never quoting a key."""
    with pytest.raises(ConfigurationError, match="the-source") as caught:
        parse_key_ring(text, source="the-source")
    assert "A" * 20 not in str(caught.value)


def test_missing_key_file(folder: Path) -> None:
    """A configured key file that is not there is an error, not a reason to make one."""
    with pytest.raises(ConfigurationError, match=r"secrets\.key_file: cannot read"):
        load_key_ring(keys=None, key_file=folder / "none", data_dir=folder)


def test_damaged_ciphertext() -> None:
    """A changed, cut or foreign ciphertext is refused with the place it belongs to."""
    sealed = RING.seal(b"secret", "place")
    for broken in (sealed[:-4] + "AAAA", sealed[:12], "2.x.y", "1.test.%%%", ""):
        with pytest.raises(ConfigurationError, match="place"):
            RING.unseal(broken, "place")
    with pytest.raises(ConfigurationError, match=r"key 'test'.*it has other"):
        KeyRing({"other": b"o" * 32}).unseal(sealed, "place")
