"""runtime.registrations: many accounts at their PBXs, over restarts and changes."""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from push_proxy.core.ids import AccountKey, DeviceId, Instant
from push_proxy.core.locating import Located, plain_target
from push_proxy.core.model import Account, Address, Credentials, RegisterPolicy, RegistrationRecord
from push_proxy.core.pacing import rate_faults
from push_proxy.core.pbx import Endpoint, Pbx
from push_proxy.core.registration_status import RegistrationState
from push_proxy.observability.metrics import Metrics
from push_proxy.runtime.pbx_names import PbxNames
from push_proxy.runtime.registrations import Registrations
from push_proxy.signaling.facts import RequestAnswered
from tests.unit.runtime.sip_scene import NAMES, PBX, US, Scene, hold, trunk

_ANSWERED_WITHIN_S = 10.0


class Office:
    """The scene's PBX: takes REGISTERs from the recording stack and answers them."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.metrics = Metrics()
        self.registrations = self.new()
        self.seen: list[dict[str, object]] = []

    def new(self) -> Registrations:
        scene = self.scene
        self.registrations = Registrations(
            signaling=scene.stack,  # type: ignore[arg-type]
            directory=scene.directory,
            store=scene.store,
            clock=scene.clock,
            addresses=scene.addresses,
            own=scene.own,
            metrics=self.metrics,
        )
        return self.registrations

    def take(self) -> list[dict[str, object]]:
        """REGISTERs since the last look."""
        taken, self.scene.stack.requests = self.scene.stack.requests, []
        self.seen += taken
        return taken

    def answer(
        self, request: dict[str, object], status: int = 200, *lines: str, echo: bool = True
    ) -> None:
        headers = [line for name, line in contact_lines(request) if echo and status == 200]
        raw = "\r\n".join([f"SIP/2.0 {status} Reason", *headers, *lines]) + "\r\n\r\n"
        self.registrations.on_answer(
            RequestAnswered(
                request=int(str(request["request"])),
                status=status,
                reason="Reason",
                local=False,
                raw=raw.encode(),
            )
        )

    def run(self, seconds: float = 0.01, status: int = 200) -> list[dict[str, object]]:
        """Let time pass; everything asked is answered before it would be asked again."""
        taken: list[dict[str, object]] = []
        while seconds > 0:
            self.scene.clock.advance(min(seconds, _ANSWERED_WITHIN_S))
            seconds -= _ANSWERED_WITHIN_S
            asked = self.take()
            for request in asked:
                self.answer(request, status)
            taken += asked
        return taken

    async def record(self, account: Account) -> RegistrationRecord | None:
        """What the store has, once it has taken everything."""
        assert await self.registrations._writes.drained(5.0)
        (found,) = await self.scene.store.get_registrations([account.key])
        return found

    def state(self, account: Account) -> RegistrationState:
        return self.registrations.status(account.key).state


def contact_lines(request: dict[str, object]) -> Iterator[tuple[str, str]]:
    headers = request["headers"]
    assert isinstance(headers, tuple)
    for name, value in headers:
        if name == "Contact" and not value.endswith("expires=0"):
            yield value, f"Contact: {value}"


def contacts(request: dict[str, object]) -> list[str]:
    headers = request["headers"]
    assert isinstance(headers, tuple)
    return [value for name, value in headers if name == "Contact"]


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    scene = await Scene().start()
    office = Office(scene)
    await office.registrations.start()
    yield office
    await office.registrations.aclose()
    await scene.aclose()


async def test_from_the_first_device_to_the_last(office: Office) -> None:
    """register: with_device (the default)."""
    account = await office.scene.add(hold())
    assert office.run() == []
    assert office.state(account) is RegistrationState.UNUSED
    await office.scene.add(account, "one")
    (request,) = office.run()
    assert await office.record(account) is not None
    assert request["request_uri"] == "sip:pbx.example.com"
    assert (request["destination"], request["local"]) == (PBX, US)
    assert contacts(request) == ["<sip:101@10.0.0.7:5060;pp=tok101>;expires=600"]
    assert office.state(account) is RegistrationState.REGISTERED
    await office.scene.add(account, "two")
    await office.scene.directory.delete_device(account.key, DeviceId("one"))
    assert office.run() == []
    await office.scene.directory.delete_device(account.key, DeviceId("two"))
    (request,) = office.run()
    assert contacts(request) == ["<sip:101@10.0.0.7:5060;pp=tok101>;expires=0"]
    assert office.state(account) is RegistrationState.UNUSED
    assert await office.record(account) is None


async def test_a_phone_that_only_registered_is_a_device(office: Office) -> None:
    """Known by its REGISTER alone: we are registered at the PBX while it is bound."""
    account = await office.scene.add(hold())
    office.scene.register()
    assert [contacts(r)[0][-3:] for r in office.run()] == ["600"]
    office.scene.register(call_id="again")
    assert office.run() == []
    office.scene.register("Expires: 0")
    assert [contacts(r)[0][-3:] for r in office.run()] == ["s=0"]
    assert office.state(account) is RegistrationState.UNUSED


async def test_always_and_disabled_and_trunk(office: Office) -> None:
    """`always` needs no device, `enabled: false` sends nothing, trunk never registers."""
    await office.scene.add(trunk(), "phone")
    off = hold(register=RegisterPolicy.ALWAYS, enabled=False)
    await office.scene.add(off)
    assert office.run() == []
    await office.scene.add(replace(off, enabled=True, version=2))
    assert len(office.run()) == 1
    await office.scene.add(replace(off, version=3))
    (request,) = office.run()
    assert contacts(request)[0].endswith("expires=0")


async def test_an_identical_put_sends_no_sip(office: Office) -> None:
    """Nor does one that changes nothing of the registration."""
    account = await office.scene.add(hold(), "phone")
    office.run()
    await office.scene.add(replace(account, version=2, updated_at=9.0), "phone")
    await office.scene.add(replace(account, version=3, language="de"), "phone")
    assert office.run(1.0) == []


async def test_deleting_unregisters(office: Office) -> None:
    """Although the account is gone; then nothing of it is left."""
    account = await office.scene.add(hold(), "phone")
    office.run()
    await office.scene.directory.delete_account(account.key)
    (request,) = office.run()
    assert contacts(request)[0].endswith("expires=0")
    assert office.registrations._machines == {}
    assert sum(office.registrations.counts().values()) == 0


async def test_another_registrar_means_leaving_the_old(office: Office) -> None:
    """Unregistered there, registered here, at once."""
    account = await office.scene.add(hold(), "phone")
    office.run()
    await office.scene.add(replace(account, pbx=None, registrar="sip:192.0.2.99", version=2))
    taken = office.run()
    assert sorted((str(r["destination"]), contacts(r)[0][-3:]) for r in taken) == [
        ("udp:192.0.2.10:5060", "s=0"),
        ("udp:192.0.2.99:5060", "600"),
    ]
    assert office.state(account) is RegistrationState.REGISTERED
    assert len(office.registrations._machines) == 1
    assert await office.record(account) is not None


async def test_a_restart_goes_on_with_the_same_call_id(office: Office) -> None:
    """Nothing is unregistered or registered anew; at the refresh Call-ID stays, CSeq grows."""
    account = await office.scene.add(hold(), "phone")
    (before,) = office.run()
    place = ("office", before["destination"])
    await office.registrations.aclose()
    assert office.take() == []
    await office.new().start()
    assert office.state(account) is RegistrationState.REGISTERED
    assert office.run(400.0) == []
    assert office.registrations._bound.at(place) != ()  # type: ignore[arg-type]
    (after,) = office.run(120.0)
    assert after["call_id"] == before["call_id"]
    assert int(str(after["cseq"])) > int(str(before["cseq"]))


async def test_a_restart_registers_again_over_tcp(office: Office) -> None:
    """Calls come on the connection that registered, which ended with us: at once, not at the
    refresh, on a Contact that asks for TCP.
    """
    own = {"pbx": None, "registrar": "sip:192.0.2.10;transport=tcp"}
    await office.scene.add(hold(**own), "phone")
    (before,) = office.run()
    assert before["destination"] == Address("192.0.2.10", 5060, "tcp")
    assert contacts(before) == ["<sip:101@10.0.0.7:5060;transport=tcp;pp=tok101>;expires=600"]
    assert await office.registrations._writes.drained(5.0)
    await office.registrations.aclose()
    await office.new().start()
    (after,) = office.run()
    assert after["call_id"] == before["call_id"]
    assert contacts(after) == contacts(before)


async def test_disabled_while_we_were_down(office: Office) -> None:
    """The record says that the PBX still has us: it is told."""
    account = await office.scene.add(hold(enabled=False), "phone")
    record = RegistrationRecord(
        account=account.key,
        call_id="old",
        cseq=3,
        contact="sip:101@10.0.0.7:5060;pp=tok101",
        expires_at=Instant(office.scene.clock.now() + 100),
    )
    await office.scene.store.put_registration(record)
    await office.registrations.aclose()
    await office.new().start()
    (request,) = office.run()
    assert contacts(request)[0].endswith("expires=0")


async def test_an_unresolvable_pbx_is_retried(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shown as 503 of our own; no request leaves, until the name resolves."""
    account = hold(pbx=None, registrar="sip:late.example.com")
    await office.scene.add(account, "phone")
    assert office.run() == []
    status = office.registrations.status(account.key)
    assert (status.state, status.last_status) == (RegistrationState.RETRYING, 503)
    assert "resolve" in status.last_reason
    assert "resolves" in status.advice
    monkeypatch.setitem(NAMES, "late.example.com", ("192.0.2.50",))
    await office.scene.addresses._resolved.look_up(Endpoint("late.example.com", None, None))
    (request,) = office.run(5.0)
    assert request["destination"] == Address("192.0.2.50", 5060)


async def test_a_late_answer_is_nobodys(office: Office) -> None:
    """After 64 s of silence a new attempt counts; the old answer changes nothing."""
    account = await office.scene.add(hold(), "phone")
    office.scene.clock.advance(0.01)
    (old,) = office.take()
    office.scene.clock.advance(64)
    office.scene.clock.advance(5)
    (new,) = office.take()
    office.answer(old, 403)
    assert office.state(account) is RegistrationState.RETRYING
    office.answer(new)
    assert office.state(account) is RegistrationState.REGISTERED


async def test_rejection_shows_until_the_account_changes(office: Office) -> None:
    """Wrong password: shown with advice, metrics counted, silent; a new password is tried."""
    account = await office.scene.add(hold(), "phone")
    challenge = 'WWW-Authenticate: Digest realm="x", nonce="n"'
    for _ in range(2):
        office.scene.clock.advance(0.01)
        (request,) = office.take()
        office.answer(request, 401, challenge)
    status = office.registrations.status(account.key)
    assert (status.state, status.last_status) == (RegistrationState.REJECTED, 401)
    assert office.run(7200) == []
    text = office.metrics.render().decode()
    assert 'push_proxy_registrations{state="rejected"} 1.0' in text
    assert 'push_proxy_registration_attempts_total{result="wrong_password"} 1.0' in text
    await office.scene.add(replace(account, credentials=Credentials(password="n"), version=2))
    assert len(office.run()) == 1
    assert office.state(account) is RegistrationState.REGISTERED


async def test_the_pace_of_the_pbx_is_kept_and_refreshes_go_first(office: Office) -> None:
    """10 a second, whatever waits; those that calls rely on before new ones."""
    office.scene.pbxes["office"] = Pbx(
        key="office", registrar="sip:pbx.example.com", registrations_per_second=10
    )
    old = [await office.scene.add(hold(str(n)), "phone") for n in range(100, 110)]
    for _ in range(12):
        office.run(0.1)
    assert {office.state(account) for account in old} == {RegistrationState.REGISTERED}
    office.scene.clock.advance(440)
    for n in range(300):
        await office.scene.add(hold(f"new{n}"), "phone")
    known = {request["call_id"] for request in office.seen}
    sent: list[dict[str, object]] = []
    for second in range(1, 81):
        sent += office.run(1.0)
        assert len(sent) <= 10 * second + 1
        for account in old:
            # Due refreshes do not queue behind the new ones, which take 30 s.
            due_at = office.registrations.status(account.key).next_attempt_at
            assert due_at is not None
            assert due_at > office.scene.clock.now() - 1.5
            lanes = [
                what for _, _, what in office.registrations._schedule._heap if isinstance(what, str)
            ]
            assert len(lanes) <= 1
    assert len([r for r in sent if r["call_id"] in known]) == 10
    assert len([r for r in sent if r["call_id"] not in known]) == 300


def test_a_rate_below_the_need_is_a_fault() -> None:
    """1,000 accounts at 600 s need about 2.8 a second."""
    accounts = [hold(str(n)) for n in range(1000)]
    slow = {"office": Pbx(key="office", registrar="sip:p", registrations_per_second=2)}
    (fault,) = rate_faults(accounts, slow)
    assert "pbxes.office.registrations_per_second" in fault
    assert "1000 accounts" in fault
    assert rate_faults(accounts, {"office": Pbx(key="office", registrar="sip:p")}) == []


async def test_twenty_thousand_accounts_cost_linear_time(office: Office) -> None:
    """Twice the accounts, about twice the time: start, registration and refresh."""
    office.scene.pbxes["office"] = Pbx(
        key="office", registrar="sip:pbx.example.com", registrations_per_second=10_000
    )

    async def spend(count: int, first: int) -> float:
        keys = [hold(str(n)) for n in range(first, first + count)]
        began = time.process_time()
        for account in keys:
            await office.scene.add(account, "phone")
        for _ in range(30):
            office.run(0.1)
        spent = time.process_time() - began
        assert office.state(keys[-1]) is RegistrationState.REGISTERED
        return spent

    small = await spend(2_000, 10_000)
    large = await spend(8_000, 20_000)
    assert large < 4 * small * 2.5
    assert office.registrations.counts()["registered"] == 10_000
    assert office.registrations.status(AccountKey("t/a10000")).state is RegistrationState.REGISTERED


async def test_the_same_registrar_by_a_configured_name(office: Office) -> None:
    """An account that now names the PBX it was at keeps its binding, and has that PBX's pace."""
    account = await office.scene.add(hold(pbx=None, registrar="sip:192.0.2.10"), "phone")
    (first,) = office.run()
    office.scene.pbxes["main"] = Pbx(
        key="main", registrar="sip:192.0.2.10", registrations_per_second=1
    )
    await office.scene.add(replace(account, pbx="main", registrar=None, version=2))
    assert office.run() == []
    assert office.registrations._bound.at(("main", first["destination"])) != ()  # type: ignore[arg-type]
    for n in range(5):
        await office.scene.add(hold(str(n), pbx="main"), "phone")
    assert office.registrations.renew(("main", PBX), lost=True) == 1
    assert len(office.run(3.0)) <= 4
    assert len(office.run(6.0)) >= 2
    assert office.state(account) is RegistrationState.REGISTERED


@pytest.mark.parametrize("waits", ["in its lane", "for its answer"])
async def test_a_pbx_with_another_name_in_the_middle(office: Office, waits: str) -> None:
    """Whoever waits when the account changes is neither asked twice nor forgotten."""
    office.scene.pbxes["office"] = Pbx(key="office", registrar="sip:192.0.2.10")
    office.scene.pbxes["main"] = Pbx(key="main", registrar="sip:192.0.2.10")
    account = await office.scene.add(hold(), "phone")
    (first,) = office.run()
    if waits == "in its lane":
        office.registrations.hold("office")
    office.registrations.renew(("office", PBX), lost=False)
    office.scene.clock.advance(0.01)
    asked = office.take()
    assert len(asked) == (waits == "for its answer")
    await office.scene.add(replace(account, pbx="main", version=2), "phone")
    for request in asked:
        office.answer(request)
    office.registrations.release("office")
    assert len(office.run(1.0)) == (waits == "in its lane")
    lanes = office.registrations._schedule._lanes
    assert [lane.unanswered for lane in lanes.values()] == [0, 0]
    assert office.run(400.0) == []
    assert office.state(account) is RegistrationState.REGISTERED
    assert office.registrations._bound.at(("main", first["destination"])) != ()  # type: ignore[arg-type]


async def test_the_same_server_by_another_name(office: Office) -> None:
    """No removal that might overtake the new registration: it is the same binding."""
    account = await office.scene.add(hold(), "phone")
    office.run()
    await office.scene.add(replace(account, pbx=None, registrar="sip:192.0.2.10", version=2))
    (request,) = office.run()
    assert request["request_uri"] == "sip:192.0.2.10"
    assert [value[-4:] for value in contacts(request)] == ["=600"]
    assert office.run(1.0) == []


async def test_dns_news_cost_what_they_concern(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is resolved concerns the accounts at that name, not all there are."""
    for n in range(20):
        await office.scene.add(hold(str(n)), "phone")
    other = hold("x", pbx=None, registrar="sip:new.example.com")
    await office.scene.add(other, "phone")
    seen: list[str] = []
    update = office.registrations._update
    monkeypatch.setattr(
        office.registrations, "_update", lambda account: (seen.append(account.aor), update(account))
    )
    known = PbxNames.known
    end = Endpoint("new.example.com", None, None)
    there = Located(plain_target(replace(end, transport="tcp"), ("192.0.2.10",)))
    monkeypatch.setattr(
        PbxNames, "known", lambda names, asked: there if asked == end else known(names, asked)
    )
    office.registrations._on_resolved(end)
    assert seen == [other.aor]
    office.registrations._on_resolved(end)
    office.registrations._on_resolved(Endpoint("pbx.example.com", None, None))
    assert seen == [other.aor]
