"""What every store promises: the same claims on memory, on Valkey and on Redis."""

import asyncio
from dataclasses import replace

import pytest

from push_proxy.core.ids import AccountKey, CallId, DeviceId, Instant, TenantId
from push_proxy.core.model import HeldDevice, Verdict
from push_proxy.errors import Conflict, InvalidInput, NotFound, PreconditionFailed
from push_proxy.ports import AccountState, ApiKey, CallPage, CallQuery, Store

from .conftest import HISTORY, HandClock
from .samples import (
    ACME,
    ALICE,
    BOB,
    PHONE,
    account,
    binding,
    call,
    device,
    enrolment,
    held,
    mailbox,
    registration,
)


async def with_accounts(store: Store, *names: str) -> None:
    for name in names or ("alice", "bob"):
        await store.put_account(account(name), expected_version=0)


async def found(store: Store, **query: object) -> list[str]:
    """All pages of a search."""
    names: list[str] = []
    cursor = None
    while True:
        page = await store.find_calls(CallQuery(tenant=ACME, cursor=cursor, **query))  # type: ignore[arg-type]
        names += [record.id for record in page.calls]
        cursor = page.next_cursor
        if cursor is None:
            return names


async def test_open_and_ping(store: Store) -> None:
    """A store that runs answers, and may be opened twice."""
    await store.open()
    await store.ping()


async def test_account_comes_back_whole(store: Store) -> None:
    """An account is read as it was written, in every field, secrets included."""
    await store.put_account(account(), expected_version=0)
    assert await store.get_account(ALICE) == account()
    assert await store.get_account(AccountKey("acme/nobody")) is None


async def test_account_versions(store: Store) -> None:
    """A write needs the version it was told: created once, replaced by who knows it."""
    with pytest.raises(PreconditionFailed, match="does not exist"):
        await store.put_account(account(), expected_version=3)
    await store.put_account(account(), expected_version=0)
    with pytest.raises(PreconditionFailed, match="exists already"):
        await store.put_account(account(), expected_version=0)
    await store.put_account(account(version=2, language="en"), expected_version=1)
    with pytest.raises(PreconditionFailed, match="version is 2"):
        await store.put_account(account(version=2), expected_version=1)
    await store.put_account(account(version=9), expected_version=None)
    kept = await store.get_account(ALICE)
    assert kept
    assert kept.version == 9


async def test_aor_and_contact_token_are_unique(store: Store) -> None:
    """A second account with the same AOR or contact token is refused, tenants or not."""
    await with_accounts(store, "alice")
    with pytest.raises(Conflict, match="alice"):
        await store.put_account(account("bob", aor=account().aor), expected_version=None)
    stranger = account("eve", "globex", aor=account().aor)
    with pytest.raises(Conflict, match="another tenant"):
        await store.put_account(stranger, expected_version=None)
    twin = account("bob", contact_token=account().contact_token)
    with pytest.raises(Conflict, match="contact token"):
        await store.put_account(twin, expected_version=None)
    assert await store.get_account(BOB) is None
    await with_accounts(store, "bob")


async def test_names_are_free_again(store: Store) -> None:
    """An AOR given up by a change, a refusal or a deletion can be taken by another at once."""
    await with_accounts(store, "alice")
    with pytest.raises(PreconditionFailed):
        await store.put_account(account("bob", aor="sip:x@y"), expected_version=7)
    await store.put_account(account("carol", aor="sip:x@y"), expected_version=0)
    await store.put_account(account(aor="sip:new@y", version=2), expected_version=1)
    await store.put_account(account("bob", aor=account().aor), expected_version=0)
    assert await store.delete_account(AccountKey("acme/carol"))
    await store.put_account(account("dave", aor="sip:x@y"), expected_version=0)


async def test_same_account_created_twice_at_once(store: Store) -> None:
    """Of many that create the same account at once, exactly one succeeds."""
    tries = await asyncio.gather(
        *(
            store.put_account(account(language=str(number)), expected_version=0)
            for number in range(8)
        ),
        return_exceptions=True,
    )
    assert [type(t) for t in tries].count(PreconditionFailed) == 7
    kept = await store.get_account(ALICE)
    assert kept
    assert tries[int(kept.language or "")] is None


async def test_same_aor_claimed_at_once(store: Store) -> None:
    """Of many accounts that want one AOR at once, exactly one gets it."""
    tries = await asyncio.gather(
        *(store.put_account(account(f"a{n}", aor="sip:x@y"), expected_version=0) for n in range(8)),
        return_exceptions=True,
    )
    assert [type(t) for t in tries].count(Conflict) == 7
    assert len([a async for a in store.all_accounts()]) == 1


async def test_accounts_are_listed_in_pages(store: Store) -> None:
    """A tenant's accounts come in order of id, page by page, and no other tenant's."""
    await with_accounts(store, "c", "a", "e", "b", "d")
    await store.put_account(account("x", "globex"), expected_version=0)
    first = await store.list_accounts(ACME, limit=2, cursor=None)
    assert [a.account for a in first.accounts] == ["a", "b"]
    second = await store.list_accounts(ACME, limit=2, cursor=first.next_cursor)
    assert [a.account for a in second.accounts] == ["c", "d"]
    last = await store.list_accounts(ACME, limit=2, cursor=second.next_cursor)
    assert ([a.account for a in last.accounts], last.next_cursor) == (["e"], None)
    exact = await store.list_accounts(ACME, limit=5, cursor=None)
    assert exact.next_cursor is None


async def test_everything_for_the_start(store: Store, clock: HandClock) -> None:
    """At the start every account of every tenant comes with its devices and live bindings."""
    for number in range(250):
        await store.put_account(account(f"n{number:03}"), expected_version=0)
    await store.put_account(account("x", "globex"), expected_version=0)
    key = AccountKey("acme/n007")
    await store.put_device(device(key), expected_version=0)
    await store.put_binding(binding(clock.at, key))
    await store.put_binding(binding(clock.at, key, "old", expires_at=Instant(clock.at)))
    states = [state async for state in store.everything()]
    assert len({state.account.key for state in states}) == len(states) == 251
    assert AccountState(account("n007"), (device(key),), (binding(clock.at, key),)) in states


async def test_deletion_erases_all(store: Store, clock: HandClock) -> None:
    """Deleting an account leaves nothing: devices, bindings, calls, codes; twice is False."""
    await with_accounts(store)
    await store.put_device(device(), expected_version=0)
    await store.put_binding(binding(clock.at))
    await store.put_registration(registration(clock.at))
    await store.put_call(call(clock.at))
    await store.hold_invite(held(clock.at))
    await store.put_enrolment(enrolment(clock.at))
    await store.put_call(call(clock.at, "bobs", BOB))
    assert await store.delete_account(ALICE)
    assert not await store.delete_account(ALICE)
    assert await store.devices(ALICE) == await store.bindings(ALICE) == ()
    assert await store.held_invites(ALICE) == ()
    assert await store.get_registrations([ALICE]) == (None,)
    assert await store.get_call(CallId("call-1")) is None
    assert await found(store) == ["bobs"]
    assert await store.take_enrolment("aa" * 32, now=clock.now()) is None
    # The same token elsewhere moves nothing: the old device is not remembered.
    assert await store.put_device(device(BOB), expected_version=0) == ()


async def test_what_comes_late_for_a_deleted_account_is_dropped(
    store: Store, clock: HandClock
) -> None:
    """A call's last record or a binding, written after the deletion, brings nothing back."""
    await with_accounts(store)
    await store.put_call(call(clock.at))
    await store.delete_account(ALICE)
    await store.put_call(call(clock.at, caller="late"))
    await store.put_binding(binding(clock.at))
    assert await store.get_call(CallId("call-1")) is None
    assert await store.bindings(ALICE) == ()
    await with_accounts(store, "alice")
    assert await store.bindings(ALICE) == ()
    assert await found(store) == []


async def test_device_comes_back_whole(store: Store) -> None:
    """A device is read as it was written; devices are listed by id."""
    await with_accounts(store)
    await store.put_device(device(name="z", token="t2"), expected_version=0)
    await store.put_device(device(), expected_version=0)
    assert await store.get_device(ALICE, PHONE) == device()
    assert [d.device for d in await store.devices(ALICE)] == ["phone", "z"]
    assert await store.get_device(ALICE, DeviceId("nothing")) is None


async def test_device_versions(store: Store) -> None:
    """A device needs its account, and its version as accounts do."""
    with pytest.raises(NotFound, match="alice"):
        await store.put_device(device(), expected_version=None)
    await with_accounts(store)
    await store.put_device(device(), expected_version=0)
    with pytest.raises(PreconditionFailed):
        await store.put_device(device(), expected_version=0)
    await store.put_device(device(version=2), expected_version=1)
    assert await store.delete_device(ALICE, PHONE)
    assert not await store.delete_device(ALICE, PHONE)


async def test_exclusive_token_moves(store: Store, clock: HandClock) -> None:
    """The same app and token on a new account removes the old device with its binding."""
    await with_accounts(store)
    await store.put_device(device(), expected_version=0)
    await store.put_binding(binding(clock.at))
    assert await store.put_device(device(BOB), expected_version=0) == ((ALICE, PHONE),)
    assert await store.devices(ALICE) == await store.bindings(ALICE) == ()
    # Another app's token of the same text is another thing.
    other = device(app_id="com.example.other")
    assert await store.put_device(other, expected_version=0) == ()
    assert len(await store.devices(BOB)) == 1


async def test_shared_token_stays(store: Store) -> None:
    """With ``exclusive`` false several devices share a token, until an exclusive one comes."""
    await with_accounts(store)
    await store.put_device(device(exclusive=False), expected_version=0)
    assert await store.put_device(device(BOB, exclusive=False), expected_version=0) == ()
    taken = await store.put_device(device(name="new"), expected_version=0)
    assert taken == ((ALICE, PHONE), (BOB, PHONE))


async def test_old_token_is_forgotten(store: Store) -> None:
    """A device that changed its token loses nothing when another takes the old one."""
    await with_accounts(store)
    await store.put_device(device(), expected_version=0)
    await store.put_device(device(token="rotated", version=2), expected_version=1)
    assert await store.put_device(device(BOB), expected_version=0) == ()
    kept = await store.get_device(ALICE, PHONE)
    assert kept
    assert kept.token == "rotated"


async def test_a_dropped_token_is_nobodys(store: Store) -> None:
    """Devices without token share nothing: none pushes another aside, and a token that was
    dropped here is taken elsewhere without a trace.
    """
    await with_accounts(store)
    await store.put_device(device(), expected_version=0)
    await store.put_device(device(token="", version=2), expected_version=1)
    assert await store.put_device(device(BOB, token=""), expected_version=0) == ()
    assert await store.put_device(device(BOB, version=2), expected_version=1) == ()
    assert await store.put_device(device(version=3), expected_version=2) == ((BOB, PHONE),)
    assert await store.put_device(device(token="", version=4), expected_version=3) == ()
    assert await store.delete_device(ALICE, PHONE)
    assert await store.devices(ALICE) == await store.devices(BOB) == ()


async def test_refused_device_takes_no_token(store: Store) -> None:
    """A device write that is refused removes nobody else's device."""
    await with_accounts(store)
    await store.put_device(device(), expected_version=0)
    with pytest.raises(PreconditionFailed):
        await store.put_device(device(BOB), expected_version=5)
    with pytest.raises(NotFound):
        await store.put_device(device(AccountKey("acme/nobody")), expected_version=None)
    assert await store.devices(ALICE) == (device(),)


async def test_bindings_until_they_expire(store: Store, clock: HandClock) -> None:
    """One binding per device, the newest, until its time is over or it is removed."""
    await with_accounts(store)
    await store.put_binding(binding(clock.at, cseq=1))
    await store.put_binding(binding(clock.at, cseq=2))
    await store.put_binding(binding(clock.at, name="~other", expires_at=Instant(clock.at + 5)))
    assert await store.bindings(ALICE) == (
        binding(clock.at, cseq=2),
        binding(clock.at, name="~other", expires_at=Instant(clock.at + 5)),
    )
    clock.at += 10
    assert [b.device for b in await store.bindings(ALICE)] == ["phone"]
    await store.delete_binding(ALICE, PHONE)
    await store.delete_binding(ALICE, PHONE)
    assert await store.bindings(ALICE) == ()


async def test_deleted_device_loses_binding(store: Store, clock: HandClock) -> None:
    """Deleting a device removes its binding with it."""
    await with_accounts(store)
    await store.put_device(device(), expected_version=0)
    await store.put_binding(binding(clock.at))
    await store.delete_device(ALICE, PHONE)
    assert await store.bindings(ALICE) == ()


async def test_registration_is_kept(store: Store, clock: HandClock) -> None:
    """Call-ID and CSeq of a registration outlive its expiry, and go when deleted."""
    await store.put_registration(registration(clock.at))
    clock.at += 1000
    kept = registration(clock.at - 1000)
    assert await store.get_registrations([BOB, ALICE, BOB]) == (None, kept, None)
    await store.delete_registration(ALICE)
    assert await store.get_registrations([ALICE]) == (None,)


async def test_held_invites(store: Store, clock: HandClock) -> None:
    """A held INVITE comes back byte for byte until it is released, also after its deadline: who
    held it may have died.
    """
    await store.hold_invite(held(clock.at))
    await store.hold_invite(held(clock.at, "call-2", deadline=Instant(clock.at + 60)))
    assert (await store.held_invites(ALICE))[0] == held(clock.at)
    clock.at += 20
    assert [h.call for h in await store.held_invites(ALICE)] == ["call-1", "call-2"]
    assert await store.release_invite(ALICE, CallId("call-2"))
    assert not await store.release_invite(ALICE, CallId("call-2"))
    assert [h.call for h in await store.held_invites(ALICE)] == ["call-1"]


async def test_held_invites_of_a_node(store: Store, clock: HandClock) -> None:
    """Those of one node are found by its name, oldest first, whatever account they are of; what
    has been released is not among them.
    """
    later = Instant(clock.at + 1)
    await store.hold_invite(held(clock.at, "call-2", node="n1", received_at=later))
    await store.hold_invite(held(clock.at, "call-1", node="n1", account=BOB, host="192.0.2.1"))
    await store.hold_invite(held(clock.at, "call-3", node="n2"))
    await store.hold_invite(held(clock.at, "call-4", node="n1"))
    await store.release_invite(ALICE, CallId("call-4"))
    assert [h.call for h in await store.held_of_node("n1")] == ["call-1", "call-2"]
    assert (await store.held_of_node("n1"))[0].host == "192.0.2.1"
    await store.release_invite(ALICE, CallId("call-2"), node="n1")
    assert [h.call for h in await store.held_of_node("n1")] == ["call-1"]
    assert [h.call for h in await store.held_of_node("n2")] == ["call-3"]
    assert await store.held_of_node("n3") == ()
    await store.hold_invite(held(clock.at, "call-5", node="n1"))
    ours = await store.held_of_node("n1", accounts=lambda account: account == BOB)
    assert [h.call for h in ours] == ["call-1"]


async def test_a_held_invites_devices(store: Store, clock: HandClock) -> None:
    """How its devices stand is replaced as often as it changes; not once it has been released."""
    first = HeldDevice(device=PHONE, pushes=1, pushed_at=Instant(clock.at))
    now = replace(first, accepted_at=Instant(clock.at + 1), status=486, reason="Busy", attempt=2)
    await store.hold_invite(held(clock.at, node="n1", devices=(first,)))
    assert (await store.held_of_node("n1"))[0].devices == (first,)
    assert await store.update_held(ALICE, CallId("call-1"), (now,))
    assert (await store.held_invites(ALICE))[0].devices == (now,)
    assert (await store.held_of_node("n1"))[0].devices == (now,)
    await store.release_invite(ALICE, CallId("call-1"), node="n1")
    assert not await store.update_held(ALICE, CallId("call-1"), (now,))
    assert await store.held_invites(ALICE) == ()


async def test_call_record(store: Store, clock: HandClock) -> None:
    """A call's record is read by its id, as it was last written."""
    await with_accounts(store)
    await store.put_call(call(clock.at, outcome=None, timeline=()))
    await store.put_call(call(clock.at))
    assert await store.get_call(CallId("call-1")) == call(clock.at)
    assert await store.get_call(CallId("unknown")) is None


async def test_calls_written_together_are_as_if_written_one_by_one(
    store: Store, clock: HandClock
) -> None:
    """Of several tenants, with one Call-ID, one twice: the last stands; a deleted account's is
    dropped.
    """
    await with_accounts(store)
    await store.put_account(account("x", "globex"), expected_version=0)
    theirs = AccountKey("globex/x")
    records = [
        call(clock.at, "c1", outcome=None),
        call(clock.at + 1, "c2", BOB, sip_call_id="same"),
        call(clock.at + 2, "c3", sip_call_id="same"),
        call(clock.at + 3, "c4", theirs, sip_call_id="same"),
        call(clock.at + 4, "c5", AccountKey("acme/nobody")),
        call(clock.at, "c1"),
    ]
    await store.put_calls(records)
    await store.put_calls(())
    assert await store.get_call(CallId("c1")) == records[-1]
    assert await found(store) == ["c3", "c2", "c1"]
    assert await found(store, sip_call_id="same") == ["c3", "c2"]
    others = (await store.find_calls(CallQuery(tenant=TenantId("globex")))).calls
    assert [record.id for record in others] == ["c4"]
    assert await store.get_call(CallId("c5")) is None


async def test_history_is_capped(store: Store, clock: HandClock) -> None:
    """Per account only the newest calls are kept, and none for longer than the limit."""
    await with_accounts(store)
    for number in range(8):
        await store.put_call(call(clock.at + number, f"c{number}"))
    await store.put_call(call(clock.at, "bobs", BOB))
    assert await found(store, account=ALICE) == ["c7", "c6", "c5", "c4", "c3"]
    assert await store.get_call(CallId("c2")) is None
    assert await found(store) == ["c7", "c6", "c5", "c4", "c3", "bobs"]
    clock.at += HISTORY.keep_s + 5
    assert await found(store) == ["c7", "c6", "c5"]
    assert await store.get_call(CallId("c4")) is None


async def test_search(store: Store, clock: HandClock) -> None:
    """Each condition narrows; all must hold; other tenants' calls are never found."""
    await with_accounts(store)
    await store.put_account(account("x", "globex"), expected_version=0)
    await store.put_call(call(clock.at, "c1"))
    await store.put_call(call(clock.at + 1, "c2", caller="100", sip_call_id="same"))
    await store.put_call(call(clock.at + 2, "c3", BOB, callee="100", sip_call_id="same"))
    await store.put_call(call(clock.at + 3, "c4", outcome=None))
    theirs = AccountKey("globex/x")
    await store.put_call(call(clock.at + 4, "c5", theirs, caller="100", sip_call_id="same"))
    assert await found(store) == ["c4", "c3", "c2", "c1"]
    assert await found(store, account=ALICE) == ["c4", "c2", "c1"]
    assert await found(store, account=theirs) == []
    assert await found(store, sip_call_id="same") == ["c3", "c2"]
    assert await found(store, sip_call_id="same", account=BOB) == ["c3"]
    assert await found(store, number="100") == ["c3", "c2"]
    assert await found(store, verdict=Verdict.ANSWERED) == ["c3", "c2", "c1"]
    assert await found(store, since=Instant(clock.at + 2)) == ["c4", "c3"]


async def test_search_in_pages(store: Store, clock: HandClock) -> None:
    """Pages join without gap or repetition, even for calls of the same instant."""
    await with_accounts(store)
    names = [f"c{number}" for number in range(5)]
    for name in names:
        await store.put_call(call(clock.at, name))
    assert await found(store, limit=2) == names[::-1]
    assert await found(store, limit=2, account=ALICE) == names[::-1]
    page = await store.find_calls(CallQuery(tenant=ACME, limit=5))
    assert page.next_cursor is None
    first = await store.find_calls(CallQuery(tenant=ACME, limit=2))
    await store.put_call(call(clock.at + 9, "newer", BOB))
    rest = await store.find_calls(CallQuery(tenant=ACME, cursor=first.next_cursor))
    assert [c.id for c in (*first.calls, *rest.calls)] == names[::-1]


async def test_foreign_cursor(store: Store) -> None:
    """A cursor that no page gave is refused by name."""
    for cursor in ("nonsense", "nan_c"):
        with pytest.raises(InvalidInput, match="cursor"):
            await store.find_calls(CallQuery(tenant=ACME, cursor=cursor))
    assert await store.find_calls(CallQuery(tenant=ACME)) == CallPage((), None)


async def test_api_keys(store: Store) -> None:
    """API keys are kept by tenant and name; a new one of the same name replaces the old."""
    key = ApiKey(
        name="k", tenant=ACME, key_sha256="1" * 64, scopes=frozenset({"calls", "accounts"})
    )
    new = ApiKey(name="k", tenant=ACME, key_sha256="2" * 64, scopes=frozenset({"calls"}))
    other = ApiKey(name="k", tenant=TenantId("globex"), key_sha256="3" * 64, scopes=frozenset())
    for each in (key, other, new):
        await store.put_api_key(each)
    assert await store.api_keys() == (new, other)


async def test_mailbox(store: Store, clock: HandClock) -> None:
    """The newest word on a mailbox is read as it was written, and goes with its account."""
    await with_accounts(store)
    assert await store.get_mailbox(ALICE) is None
    await store.put_mailbox(mailbox(clock.at))
    assert await store.get_mailbox(ALICE) == mailbox(clock.at)
    await store.put_mailbox(mailbox(clock.at, body=b"", told=()))
    assert await store.get_mailbox(ALICE) == mailbox(clock.at, body=b"", told=())
    assert await store.get_mailbox(BOB) is None
    assert await store.delete_account(ALICE)
    assert await store.get_mailbox(ALICE) is None
    await store.put_mailbox(mailbox(clock.at))
    assert await store.get_mailbox(ALICE) is None, "written late: the account is gone"


async def test_enrolment_is_taken_once(store: Store, clock: HandClock) -> None:
    """Of many that redeem a code at once exactly one gets it; a late one gets nothing."""
    await with_accounts(store)
    await store.put_enrolment(enrolment(clock.at))
    code = "aa" * 32
    taken = await asyncio.gather(*(store.take_enrolment(code, now=clock.now()) for _ in range(8)))
    assert [t for t in taken if t] == [enrolment(clock.at)]
    await store.put_enrolment(enrolment(clock.at))
    assert await store.take_enrolment(code, now=Instant(clock.at + 900)) is None
    assert await store.take_enrolment("unknown", now=clock.now()) is None


async def test_idempotent_response(store: Store) -> None:
    """The first response under a key is the one ever given, within its tenant."""
    assert await store.idempotent(ACME, "k", None, ttl_s=60) is None
    assert await store.idempotent(ACME, "k", b"first\x00\xff", ttl_s=60) is None
    assert await store.idempotent(ACME, "k", b"second", ttl_s=60) == b"first\x00\xff"
    assert await store.idempotent(ACME, "k", None, ttl_s=60) == b"first\x00\xff"
    assert await store.idempotent(TenantId("globex"), "k", None, ttl_s=60) is None


async def test_secret_is_made_once(store: Store) -> None:
    """A service secret is made at first use; all that ask at once get the same."""
    several = await asyncio.gather(*(store.secret("route", size=32) for _ in range(8)))
    assert len(set(several)) == 1
    assert len(several[0]) == 32
    assert await store.secret("other", size=32) != several[0]
