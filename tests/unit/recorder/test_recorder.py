"""Which messages belong to which call, and what becomes of them: the stack is a fake."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise

import pytest

from push_proxy.core.ids import AccountId, AccountKey, CallId, DeviceId, Instant, TenantId
from push_proxy.core.model import Account, Address, Binding, CallRecord, CallState, Direction
from push_proxy.errors import StoreUnavailable
from push_proxy.recorder import recorder
from push_proxy.recorder.gathering import Bounds
from push_proxy.recorder.recorder import (
    LINK_S,
    LONG_BYTES,
    PULL_S,
    SETTLE_S,
    Recorder,
    RecorderRules,
)
from push_proxy.recorder.recording import Recording, pack
from push_proxy.recording_ports import PackedRecording
from push_proxy.runtime.clock import ManualClock
from push_proxy.runtime.directory import Directory
from push_proxy.signaling.captured import Captured, CaptureLimits
from push_proxy.signaling.contract import StackSettings
from push_proxy.signaling.fake import FakeSignaling
from push_proxy.store.memory import MemoryStore
from push_proxy.tasks import spawn
from tests.lab.process import poll_until

from .messages import PBX, PHONE, US, message

KEY = AccountKey("acme/101")
ON = RecorderRules(enabled=True)


class Stage:
    """A recorder, and what happens around it."""

    def __init__(self, *, memory_bytes: int = 10_000_000, limits: int = 1000) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.sip = FakeSignaling()
        self.directory = Directory(self.store, self.clock)
        self.recorder = Recorder(
            signaling=self.sip,
            directory=self.directory,
            store=self.store,
            clock=self.clock,
            limits=CaptureLimits(messages=limits),
            memory_bytes=memory_bytes,
        )
        self.directory.subscribe(self.recorder.on_change)

    async def open(self) -> None:
        settings = StackSettings(listen=(US,), public_host=US.host, token_key=b"k" * 32)
        await self.sip.start(settings, print)
        for tenant, name in (("acme", "101"), ("acme", "102"), ("other", "101")):
            aor = f"sip:{name}@{tenant}.example.com"
            await self.directory.put_account(
                Account(tenant=TenantId(tenant), account=AccountId(name), aor=aor, pbx="office")
            )

    def call(self, name: str = "call-1", key: AccountKey = KEY, **fields: object) -> CallRecord:
        record = CallRecord(
            id=CallId(name),
            account=key,
            direction=Direction.INCOMING,
            sip_call_id="sip-1",
            started_at=self.clock.now(),
        )
        record = replace(record, **fields)  # type: ignore[arg-type]
        self.recorder.on_call(record)
        return record

    def move(self, record: CallRecord, state: CallState) -> CallRecord:
        moved = replace(record, state=state)
        self.recorder.on_call(moved)
        return moved

    def see(
        self,
        start: str,
        *headers: str,
        sent: bool = False,
        peer: Address = PBX,
        call_id: str = "sip-1",
        body: str = "",
    ) -> None:
        raw = message(start, *headers, call_id=call_id, body=body)
        register = "REGISTER" in start or any("REGISTER" in header for header in headers)
        self.sip.see(Captured(self.clock.now(), sent, register, peer, US, call_id, raw))
        self.clock.advance(0.001)

    def bind(self, device: str = "handset", *, call_id: str = "reg-1") -> None:
        self.directory.put_binding(
            Binding(
                account=KEY,
                device=DeviceId(device),
                contact="sip:101@198.51.100.7",
                source=PHONE,
                local=US,
                call_id=call_id,
                cseq=1,
                expires_at=Instant(self.clock.now() + 600),
            )
        )

    def register(self, *, call_id: str = "reg-1", peer: Address = PHONE) -> None:
        """A challenged one."""
        start = "REGISTER sip:pbx.example.com SIP/2.0"
        self.see(start, call_id=call_id, peer=peer)
        answer = {"sent": True, "peer": peer, "call_id": call_id}
        self.see("SIP/2.0 401 Unauthorized", "CSeq: 1 REGISTER", **answer)  # type: ignore[arg-type]
        secret = 'Authorization: Digest username="101", response="5ecret"'
        self.see(start, secret, call_id=call_id, peer=peer)
        self.bind(call_id=call_id)
        self.see("SIP/2.0 200 OK", "CSeq: 2 REGISTER", **answer)  # type: ignore[arg-type]

    async def found(self, record: CallRecord) -> Recording:
        found = await self.recorder.find(record)
        assert found is not None
        return found

    async def stored(self, record: CallRecord) -> Recording:
        """Once it is in the store and nowhere else."""
        self.clock.advance(SETTLE_S + PULL_S)
        recorder = self.recorder
        assert await poll_until(
            lambda: not recorder._due and record.id not in recorder._calls, within_s=5
        )
        assert recorder.size == 0
        return await self.found(record)


def story(recording: Recording) -> list[str]:
    """Direction, hop and first word of each."""
    return [
        f"{'>' if each.sent else '<'} {each.hop} {each.raw.split()[0].decode()}"
        if not each.raw.startswith(b"SIP/2.0")
        else f"{'>' if each.sent else '<'} {each.hop} {each.raw.split()[1].decode()}"
        for each in recording.messages
    ]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    await made.open()
    made.recorder.configure(ON)
    yield made
    await made.recorder.aclose()
    await made.directory.aclose()


WOKEN = [
    "< pbx INVITE", "> pbx 100", "< handset REGISTER", "> handset 401", "< handset REGISTER",
    "> handset 200", "> handset INVITE", "< handset 200", "> pbx 200", "< pbx ACK", "> handset ACK",
]  # fmt: skip


def woken_call(stage: Stage) -> CallRecord:
    stage.see("INVITE sip:101@10.0.0.7 SIP/2.0")
    record = stage.call()
    stage.see("SIP/2.0 100 Trying", "CSeq: 1 INVITE", sent=True)
    stage.register()
    stage.see("INVITE sip:101@198.51.100.7 SIP/2.0", sent=True, peer=PHONE)
    stage.see("SIP/2.0 200 OK", "CSeq: 1 INVITE", peer=PHONE)
    stage.see("SIP/2.0 200 OK", "CSeq: 1 INVITE", sent=True)
    record = stage.move(record, CallState.ANSWERED)
    stage.see("ACK sip:101@198.51.100.7 SIP/2.0")
    stage.see("ACK sip:101@198.51.100.7 SIP/2.0", sent=True, peer=PHONE)
    return record


async def test_a_woken_call_is_told_with_its_register(stage: Stage) -> None:
    """Both legs in order, the REGISTER that woke for it among them: while the call goes on and,
    the same, from the store.
    """
    record = woken_call(stage)
    live = await stage.found(record)
    assert story(live) == WOKEN
    stage.see("BYE sip:101@198.51.100.7 SIP/2.0")
    record = stage.move(record, CallState.ENDED)
    stage.see("SIP/2.0 200 OK", "CSeq: 2 BYE", sent=True)
    kept = await stage.stored(record)
    assert story(kept) == [*WOKEN, "< pbx BYE", "> pbx 200"]
    assert kept.messages[:11] == live.messages
    assert (kept.dropped, kept.missed) == (0, 0)


async def test_the_register_is_found_also_when_it_was_copied_before_it_succeeded(
    stage: Stage,
) -> None:
    """Messages are taken from the stack at any moment: the order in the recording is theirs."""
    stage.see("INVITE sip:101@10.0.0.7 SIP/2.0")
    record = stage.call()
    stage.see("REGISTER sip:pbx.example.com SIP/2.0", peer=PHONE, call_id="reg-1")
    stage.see("SIP/2.0 180 Ringing", "CSeq: 1 INVITE", sent=True)
    stage.clock.advance(PULL_S)
    stage.bind()
    stage.see("SIP/2.0 200 OK", "CSeq: 1 REGISTER", sent=True, peer=PHONE, call_id="reg-1")
    assert story(await stage.found(record)) == [
        "< pbx INVITE", "< handset REGISTER", "> pbx 180", "> handset 200",
    ]  # fmt: skip


async def test_only_registers_that_wake_belong_to_a_call(stage: Stage) -> None:
    """Neither those of another account's device nor of one host with a stolen Call-ID, nor
    refreshes after the answer.
    """
    stage.register(call_id="before")
    stage.clock.advance(60)
    stage.see("INVITE sip:101@10.0.0.7 SIP/2.0")
    record = stage.call()
    start = "REGISTER sip:pbx.example.com SIP/2.0"
    stage.see(start, call_id="reg-1", peer=Address("203.0.113.9", 5060))
    stage.see(start, call_id="another", peer=Address("203.0.113.9", 5060))
    stage.register()
    record = stage.move(record, CallState.ANSWERED)
    stage.clock.advance(60)
    stage.register()
    assert story(await stage.found(record)) == [WOKEN[0], *WOKEN[2:6]]


async def test_an_apps_own_call_begins_at_its_device(stage: Stage) -> None:
    """The INVITE comes from the device; the other side is the PBX."""
    stage.bind()
    stage.see("INVITE sip:200@10.0.0.7 SIP/2.0", peer=PHONE)
    record = stage.call(direction=Direction.OUTGOING, state=CallState.CALLING)
    stage.see("INVITE sip:200@192.0.2.10 SIP/2.0", sent=True)
    stage.see("SIP/2.0 486 Busy Here", "CSeq: 1 INVITE")
    stage.see("SIP/2.0 486 Busy Here", "CSeq: 1 INVITE", sent=True, peer=PHONE)
    assert story(await stage.found(record)) == [
        "< handset INVITE", "> pbx INVITE", "< pbx 486", "> handset 486",
    ]  # fmt: skip


async def test_a_message_may_be_copied_before_its_call_is_known(stage: Stage) -> None:
    """The call is opened by a fact, which comes a moment after the copy; what belongs to no call
    is forgotten soon.
    """
    stage.see("INVITE sip:101@10.0.0.7 SIP/2.0")
    stage.see("NOTIFY sip:101@10.0.0.7 SIP/2.0", call_id="no call")
    stage.clock.advance(PULL_S)
    record = stage.call()
    assert story(await stage.found(record)) == ["< pbx INVITE"]
    stage.clock.advance(2)
    assert stage.recorder._captured.unclaimed() == 0


async def test_no_tenant_reads_anothers_messages(stage: Stage) -> None:
    """Calls of two tenants with one Call-ID: what comes from then on is in neither recording, and
    counted; two accounts of one tenant share theirs.
    """
    first = stage.call()
    second = stage.call("call-2", AccountKey("acme/102"))
    stage.see("INVITE sip:101@10.0.0.7 SIP/2.0")
    assert story(await stage.found(first)) == story(await stage.found(second)) == ["< pbx INVITE"]
    foreign = stage.call("call-3", AccountKey("other/101"))
    stage.see("INVITE sip:101@10.0.0.7 SIP/2.0")
    assert [(await stage.found(each)).dropped for each in (first, foreign)] == [1, 1]
    assert not (await stage.found(foreign)).messages


async def test_too_many_messages_leave_begin_and_end(stage: Stage) -> None:
    """Above the limits those in the middle go, and are counted: by number and by bytes."""
    stage.recorder.configure(replace(ON, bounds=Bounds(messages=10)))
    record = stage.call()
    for number in range(30):
        stage.see(f"INFO sip:{number}@10.0.0.7 SIP/2.0")
    found = await stage.found(record)
    users = [each.raw.split(b"@")[0].rpartition(b":")[2].decode() for each in found.messages]
    assert (len(users), found.dropped) == (10, 20)
    assert users[:4] == ["0", "1", "2", "3"]
    assert users[-4:] == ["26", "27", "28", "29"]
    stage.recorder.configure(replace(ON, bounds=Bounds(bytes=2_000)))
    other = stage.call("call-2", sip_call_id="sip-2")
    for _ in range(10):
        stage.see("INFO sip:1@10.0.0.7 SIP/2.0", call_id="sip-2")
    found = await stage.found(other)
    assert sum(len(each.raw) for each in found.messages) <= 2_000
    assert len(found.messages) + found.dropped == 10


async def test_what_the_stack_had_no_room_for_is_told(stage: Stage) -> None:
    """A gap in time: calls that went on then say how many messages are missing, whosever."""
    early = stage.call()
    stage.sip.see(lost=7)
    assert (await stage.found(early)).missed == 7
    late = stage.call("call-2", sip_call_id="sip-2")
    stage.see("INVITE sip:101@10.0.0.7 SIP/2.0", call_id="sip-2")
    assert (await stage.found(late)).missed == 0


async def test_a_full_memory_stores_parts_of_answered_calls() -> None:
    """What is stored early and what comes later are one recording in the end."""
    stage = Stage(memory_bytes=8_000)
    await stage.open()
    stage.recorder.configure(ON)
    record = stage.move(stage.call(), CallState.ANSWERED)
    for number in range(40):
        stage.see(f"INFO sip:{number}@10.0.0.7 SIP/2.0")
        if number % 10 == 9:
            stage.clock.advance(PULL_S)
            assert await poll_until(lambda: not stage.recorder._due, within_s=5)
            assert stage.recorder.size <= 8_000
    assert len((await stage.found(record)).messages) == 40
    record = stage.move(record, CallState.ENDED)
    kept = await stage.stored(record)
    assert [each.raw.split(b"@")[0][9:] for each in kept.messages] == [
        str(number).encode() for number in range(40)
    ]
    await stage.recorder.aclose()
    await stage.directory.aclose()


async def test_a_store_that_is_away_loses_no_recording(stage: Stage) -> None:
    """They wait, and are found meanwhile only if they were never stored; then they are written."""
    record = woken_call(stage)
    put, away = stage.store.put_recordings, True

    async def refused(*args: object, **fields: object) -> None:
        if away:
            raise StoreUnavailable("away")
        await put(*args, **fields)  # type: ignore[arg-type]

    stage.store.put_recordings = refused  # type: ignore[method-assign]
    record = stage.move(record, CallState.ENDED)
    stage.clock.advance(SETTLE_S + PULL_S)
    assert await poll_until(lambda: stage.recorder._writes.degraded, within_s=5)
    assert story(await stage.found(record)) == WOKEN
    away = False
    assert story(await stage.stored(record)) == WOKEN


async def test_a_restart_keeps_what_was_recorded(stage: Stage) -> None:
    """A stop writes the part that is there; the end of the call, told by another process, is added
    to it.
    """
    record = woken_call(stage)
    await stage.recorder.aclose()
    again = Recorder(
        signaling=stage.sip, directory=stage.directory, store=stage.store, clock=stage.clock
    )
    stage.recorder = again
    again.configure(ON)
    stage.clock.advance(60)
    stage.see("BYE sip:101@198.51.100.7 SIP/2.0")
    stage.see("SIP/2.0 200 OK", "CSeq: 2 BYE", sent=True)
    record = stage.move(record, CallState.ENDED)
    assert story(await stage.found(record)) == [*WOKEN, "< pbx BYE", "> pbx 200"]
    assert story(await stage.stored(record)) == [*WOKEN, "< pbx BYE", "> pbx 200"]


async def test_what_cannot_be_read_holds_up_no_other(stage: Stage) -> None:
    """A stored part that is damaged is given up for what came after it; all others are stored."""
    long = stage.call(started_at=Instant(stage.clock.now() - 60))
    damaged = PackedRecording(account=KEY, call=long.id, at=long.started_at, packed=b"damaged")
    await stage.store.put_recordings([damaged], keep_s=600)
    stage.see("BYE sip:101@10.0.0.7 SIP/2.0")
    stage.move(long, CallState.ENDED)
    other = stage.call("call-2", sip_call_id="sip-2")
    stage.see("INVITE sip:101@10.0.0.7 SIP/2.0", call_id="sip-2")
    other = stage.move(other, CallState.ENDED)
    assert story(await stage.stored(other)) == ["< pbx INVITE"]
    assert story(await stage.found(long)) == ["< pbx BYE"]


async def test_a_phone_that_is_always_called_keeps_no_former_calls(stage: Stage) -> None:
    """A call every few seconds, each with a REGISTER in it: what is over is forgotten."""
    for number in range(20):
        record = stage.call(f"call-{number}", sip_call_id=f"sip-{number}")
        stage.register()
        stage.move(record, CallState.ENDED)
        stage.clock.advance(LINK_S / 2)
    assert stage.recorder._captured.links() <= 3


async def test_calls_come_between_two_long_recordings(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen of them packed in one go would hold up everything for a fifth of a second."""
    happened: list[str] = []

    def noted(text: bytes) -> bytes:
        happened.append("pack")
        return pack(text)

    async def live() -> None:
        while True:
            happened.append("turn")
            await asyncio.sleep(0)

    monkeypatch.setattr(recorder, "pack", noted)
    for number in range(4):
        record = stage.call(f"call-{number}", sip_call_id=f"sip-{number}")
        for _ in range(5):
            long = "." * (LONG_BYTES // 5)
            stage.see("INFO sip:101@10.0.0.7 SIP/2.0", call_id=f"sip-{number}", body=long)
        record = stage.move(record, CallState.ENDED)
    others = spawn(live(), name="everything else")
    await stage.stored(record)
    others.cancel()
    assert happened.count("pack") == 4
    assert ("pack", "pack") not in pairwise(happened)


async def test_switched_on_it_follows_calls_that_go_on(stage: Stage) -> None:
    """From their next message, which need not be a turn of theirs."""
    stage.recorder.configure(RecorderRules())
    record = stage.call()
    stage.recorder._ongoing = lambda: (record,)
    stage.recorder.configure(ON)
    stage.see("SIP/2.0 180 Ringing", "CSeq: 1 INVITE", sent=True)
    assert story(await stage.found(record)) == ["> pbx 180"]


async def test_any_call_id_and_name_is_recorded(stage: Stage) -> None:
    """What is no ASCII, or would end a string in the stored form."""
    call_id = 'caf\u00e9 "\\ \u2603'
    stage.bind('de"vi\\ce')
    record = stage.call(sip_call_id=call_id)
    stage.see("INVITE sip:101@10.0.0.7 SIP/2.0", call_id=call_id)
    stage.see("INVITE sip:101@198.51.100.7 SIP/2.0", call_id=call_id, sent=True, peer=PHONE)
    record = stage.move(record, CallState.ENDED)
    assert story(await stage.stored(record)) == ["< pbx INVITE", '> de"vi\\ce INVITE']


async def test_off_it_copies_nothing(stage: Stage) -> None:
    """Switched off, the stack copies nothing and calls are not followed; what was recorded stays.
    Switched on, calls are recorded from then on.
    """
    record = woken_call(stage)
    stage.recorder.configure(RecorderRules())
    assert stage.sip.capturing is None
    assert not stage.recorder.enabled
    assert await poll_until(lambda: not stage.recorder._due, within_s=5)
    other = stage.call("call-2")
    stage.see("INVITE sip:101@10.0.0.7 SIP/2.0")
    stage.clock.advance(1)
    assert await stage.recorder.find(other) is None
    assert story(await stage.found(record)) == WOKEN
    stage.recorder.configure(ON)
    stage.see("BYE sip:101@10.0.0.7 SIP/2.0")
    stage.move(other, CallState.RINGING)
    assert story(await stage.found(other)) == ["< pbx BYE"]


async def test_a_deleted_account_takes_its_calls_along(stage: Stage) -> None:
    """Also those that go on: nothing of them is kept or shown."""
    record = woken_call(stage)
    stage.recorder.pull()
    await stage.directory.delete_account(KEY)
    assert await stage.recorder.find(record) is None
    assert stage.recorder.size == 0
