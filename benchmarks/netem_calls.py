"""Wake calls while the network loses 10 %, doubles 5 % and delays and reorders UDP packets.

`./dev bench netem_calls [--accounts 20] [--rounds 6] [--baresips 2] [--link kernel|own]`.
Everything runs in a network namespace of its own (as root, or where user namespaces are allowed):
Kamailio as PBX, the service registered there, callers and phones of the laboratory with RFC 3261's
own timers (T1 = 500 ms), and real baresip phones. Each packet of UDP meets its fate on `lo`; TCP
(pushes, API) does not. Without `--link` the kernel's netem is used where there is one.
"""

import argparse
import asyncio
import contextlib
import hashlib
import os
import platform
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from push_proxy.demo.ports import free_port
from tests.lab.baresip import Baresip
from tests.lab.kamailio import Kamailio, KamailioOptions
from tests.lab.phone import Caller, Phone
from tests.lab.process import poll_until
from tests.lab.push_sink import Push, PushSink
from tests.lab.service import LabService, ServiceOptions
from tests.lab.sip_call import IncomingCall, OutgoingCall
from tests.lab.sip_endurance import Endurance

from .netem_link import NETEM, Userspace, enter_namespace, kernel_netem, tc

REALM = "pbx.test"
WITHIN_S = 30.0


@dataclass(slots=True)
class Tally:
    """What became of the calls of one kind."""

    calls: int = 0
    right: int = 0
    finals: int = 0
    """Calls whose caller saw more than one final response."""
    rings: int = 0
    """Calls that rang a phone more than once."""
    pushes: int = 0
    """Calls with more than one push."""
    longest_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Scene:
    """Who takes part."""

    service: LabService
    pbx: Kamailio
    sink: PushSink
    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    verdicts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    ends: list[Endurance] = field(default_factory=list)

    def caller(self, user: str) -> Caller:
        """Somebody at the PBX."""
        caller = Caller(
            f"sip:{user}@{REALM}", proxy=self.pbx.address, password=self.pbx.password(user)
        )
        self.ends.append(caller.agent.endure())
        return caller

    def phone(self, user: str) -> Phone:
        """A phone of ours, asleep."""
        phone = self.service.phone(f"sip:{user}@{REALM}", password=self.pbx.password(user))
        self.ends.append(phone.agent.endure())
        return phone

    async def provision(self, user: str, **fields: object) -> None:
        """An account that the service has registered at the PBX, with one device."""
        body = {"registrar": self.pbx.uri(), "password": self.pbx.password(user), **fields}
        await self.service.put_account(user, f"sip:{user}@{REALM}", **body)
        await self.service.put_device(user)
        await self.service.is_registered(user, within=WITHIN_S)

    def pushes(self, user: str) -> list[Push]:
        """The call pushes for an account so far."""
        return [
            push
            for push in self.sink.pushes
            if push.type == "call" and push.payload["account"] == user
        ]


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One call to one sleeping phone."""

    scene: Scene
    user: str
    caller: Caller
    phone: Phone
    call: OutgoingCall
    known: int
    """Pushes before it."""

    async def pushed(self) -> None:
        """Its push has come, and the caller has heard that it is on its way."""
        assert await poll_until(
            lambda: len(self.scene.pushes(self.user)) > self.known, within_s=WITHIN_S
        ), "no push"
        await self.caller.agent.expect(
            within=WITHIN_S,
            where=lambda m: m.branch == self.call.invite.branch and 100 <= m.status < 200,
        )

    async def rung(self) -> IncomingCall:
        """The phone wakes, registers and rings."""
        await self.pushed()
        assert (await self.phone.register(within=WITHIN_S)).status == 200
        incoming = await self.phone.incoming(within=WITHIN_S)
        incoming.ring()
        return incoming


async def answered(one: Attempt) -> str:
    """Taken and hung up by the caller."""
    incoming = await one.rung()
    incoming.accept()
    far = await one.call.answered(within=WITHIN_S)
    await incoming.expect_ack(within=WITHIN_S)
    bye = far.send("BYE")
    await incoming.dialog().expect_bye(within=WITHIN_S)
    await one.caller.agent.expect(
        within=WITHIN_S, where=lambda m: m.status == 200 and m.branch == bye.branch
    )
    return "answered"


async def refused(one: Attempt) -> str:
    """The phone is busy."""
    incoming = await one.rung()
    incoming.reject(486, "Busy Here")
    await incoming.expect_ack(within=WITHIN_S)
    assert (await one.call.final(within=WITHIN_S)).status == 486
    return "busy"


async def cancelled_ringing(one: Attempt) -> str:
    """The caller gives up while it rings."""
    incoming = await one.rung()
    one.call.send_cancel()
    await incoming.expect_cancel(within=WITHIN_S)
    assert (await one.call.final(within=WITHIN_S)).status == 487
    return "caller_cancelled"


async def cancelled_waking(one: Attempt) -> str:
    """The caller gives up before the phone came."""
    await one.pushed()
    assert (await one.call.cancel(within=WITHIN_S))[1].status == 487
    return "caller_cancelled"


KINDS: tuple[Callable[[Attempt], Awaitable[str]], ...] = (
    answered,
    cancelled_ringing,
    answered,
    refused,
    answered,
    cancelled_waking,
)


async def calls_to(scene: Scene, user: str, rounds: int, *, offset: int) -> None:
    """One call after the other to one account."""
    async with scene.caller(f"9{user}") as caller:
        phone = scene.phone(user)
        for number in range(rounds):
            kind = KINDS[(offset + number) % len(KINDS)]
            call = caller.call(f"sip:{user}@{REALM}")
            one = Attempt(
                scene=scene,
                user=user,
                caller=caller,
                phone=phone,
                call=call,
                known=len(scene.pushes(user)),
            )
            await judge(one, kind)
            phone.sleep()


async def judge(one: Attempt, kind: Callable[[Attempt], Awaitable[str]]) -> None:
    """Play one call and count how it went."""
    scene, tally = one.scene, one.scene.tallies[kind.__name__]
    tally.calls += 1
    began = time.perf_counter()
    try:
        wanted = await kind(one)
        tally.longest_s = max(tally.longest_s, time.perf_counter() - began)
        call_id = one.call.invite.call_id
        record = await scene.service.call_record(
            account=one.user, sip_call_id=call_id, within=WITHIN_S
        )
        scene.verdicts[record["verdict"]] += 1
        assert record["verdict"] == wanted, record["verdict"]
        tally.right += 1
    except AssertionError as error:
        scene.faults.append(f"{kind.__name__} of {one.user}: {error}")
        return
    finals = {(m.status, m.to_tag) for m in one.caller.agent.history if one.call.is_final(m)}
    invites = one.phone.agent.received(method="INVITE", call_id=call_id)
    tally.finals += len(finals) > 1
    tally.rings += len({invite.branch for invite in invites}) > 1
    tally.pushes += len(scene.pushes(one.user)) > one.known + 1


async def calls_to_baresip(scene: Scene, phone: Baresip, rounds: int) -> None:
    """A real phone: its process starts at the push, answers, and ends after the call."""
    tally = scene.tallies["baresip"]
    async with scene.caller(f"9{phone.user}") as caller:
        for _ in range(rounds):
            tally.calls += 1
            known = len(scene.pushes(phone.user))
            began = time.perf_counter()
            call = caller.call(f"sip:{phone.user}@{REALM}")
            try:
                assert await poll_until(
                    lambda known=known: len(scene.pushes(phone.user)) > known, within_s=WITHIN_S
                ), "no push"
                await phone.start()
                far = await call.answered(within=WITHIN_S)
                bye = far.send("BYE")
                await caller.agent.expect(
                    within=WITHIN_S,
                    where=lambda m, bye=bye: m.status == 200 and m.branch == bye.branch,
                )
                tally.longest_s = max(tally.longest_s, time.perf_counter() - began)
                record = await scene.service.call_record(
                    account=phone.user, sip_call_id=call.invite.call_id, within=WITHIN_S
                )
                scene.verdicts[record["verdict"]] += 1
                assert record["verdict"] == "answered", record["verdict"]
                tally.right += 1
                tally.rings += len(phone.events("CALL_INCOMING")) > 1
                tally.pushes += len(scene.pushes(phone.user)) > known + 1
            except AssertionError as error:
                scene.faults.append(f"baresip {phone.user}: {error}")
            finally:
                await phone.stop()


async def main(argv: Sequence[str] | None = None) -> None:
    """Run all calls and print what was seen."""
    parser = argparse.ArgumentParser(prog="./dev bench netem_calls", description=__doc__)
    parser.add_argument("--accounts", type=int, default=20, help="called at the same time")
    parser.add_argument("--rounds", type=int, default=6, help="calls to each, one by one")
    parser.add_argument("--baresips", type=int, default=2, help="real phones")
    parser.add_argument("--seed", type=int, default=1, help="of our own link")
    parser.add_argument("--link", choices=("kernel", "own"), help="default: kernel, else own")
    options = parser.parse_args(argv)
    cores, version = os.cpu_count(), platform.python_version()
    busy = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    print(f"machine: {platform.machine()}, {cores} cores, Python {version}, load average {busy}")
    async with contextlib.AsyncExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="pp-"))
        scene = await _set_up(stack, Path(name))
        own = _impair(stack, options.link, options.seed)
        users = [str(100 + number) for number in range(options.accounts)]
        phones = [
            Baresip(
                directory=Path(name) / f"b{number}",
                user=str(800 + number),
                domain="{}:{}".format(*scene.service.sip_address),
                proxy=scene.service.sip_address,
                password=scene.pbx.password(str(800 + number)),
            )
            for number in range(options.baresips)
        ]
        for user in users:
            await scene.provision(user)
        for phone in phones:
            await scene.provision(phone.user, app_auth=_app_auth(scene, phone.user))
        began = time.perf_counter()
        await asyncio.gather(
            *(calls_to(scene, u, options.rounds, offset=i) for i, u in enumerate(users)),
            *(calls_to_baresip(scene, phone, options.rounds) for phone in phones),
        )
        await scene.service.nothing_waits(within=5)
        _report(scene, time.perf_counter() - began)
        print(_of_the_link(own))


def _impair(stack: contextlib.AsyncExitStack, link: str | None, seed: int) -> Userspace | None:
    """From now on UDP on `lo` is bad; None when the kernel sees to it."""
    refused = "not asked" if link == "own" else kernel_netem()
    if refused and link == "kernel":
        raise SystemExit(f"this kernel has no netem: {refused}")
    print(f"link: {'our own' if refused else 'tc netem'}: {NETEM}")
    if not refused:
        return None
    print(f"(the kernel's: {refused})")
    return stack.enter_context(Userspace(seed))


def _of_the_link(own: Userspace | None) -> str:
    if own is None:
        return tc("-s qdisc show dev lo").strip()
    way = own.way
    return f"packets of UDP: {way.passed + way.lost}, lost {way.lost}, doubled {way.doubled}"


def _app_auth(scene: Scene, user: str) -> dict[str, object]:
    # baresip 1.0 gives up as soon as it is offered SHA-256.
    ha1 = hashlib.md5(f"{user}:{REALM}:{scene.pbx.password(user)}".encode()).hexdigest()  # noqa: S324
    return {"user": user, "realm": REALM, "ha1": {"MD5": ha1}}


async def _set_up(stack: contextlib.AsyncExitStack, directory: Path) -> Scene:
    sink = await stack.enter_async_context(PushSink())
    pbx = Kamailio(directory / "pbx", free_port(), KamailioOptions(realm=REALM, answer_s=30))
    await pbx.start()
    stack.push_async_callback(pbx.stop)
    options = ServiceOptions(
        pbxes={"bench": {"registrar": pbx.uri()}},
        webhook_url=sink.url,
        webhook_key=sink.key,
        wake={"fresh_s": 0},
        extra={"http": {"requests_per_second": 10_000}},
    )
    service = LabService(directory / "service", options)
    await service.start()
    stack.push_async_callback(service.stop)
    return Scene(service=service, pbx=pbx, sink=sink)


def _report(scene: Scene, seconds: float) -> None:
    print(
        "kind                calls  right | two finals  rung twice  pushed twice | longest s\n"
        + "\n".join(
            f"{name:18s} {t.calls:6d} {t.right:6d} | {t.finals:10d} {t.rings:11d} {t.pushes:13d} |"
            f" {t.longest_s:9.1f}"
            for name, t in scene.tallies.items()
        )
    )
    verdicts = ", ".join(f"{name} {count}" for name, count in scene.verdicts.most_common())
    repeated = sum(end.repeated for end in scene.ends)
    absorbed = sum(end.absorbed for end in scene.ends)
    print(f"verdicts: {verdicts}; in {seconds:.0f} s")
    print(f"callers and phones repeated {repeated} messages and absorbed {absorbed}")
    for fault in scene.faults:
        print(f"WRONG: {re.sub(chr(10) + '.*', '', fault)}")


if __name__ == "__main__":
    enter_namespace()
    asyncio.run(main())
