"""The command `push-proxy phone`: options, the loop of sleeping and waking, the exit status."""

import argparse
import os
import queue
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, PushProxyError
from .events import EventWriter, claim_stdout
from .push_listener import COMMANDS, PushListener
from .settings import TRANSPORTS, PhoneSettings, parse_listen

if TYPE_CHECKING:
    from .softphone import Softphone

PUMP_S = 0.01
PASSWORD_VARIABLE = "PUSH_PROXY_PHONE_PASSWORD"  # noqa: S105  # a variable's name

EPILOG = f"""
Without --call it sleeps, with no SIP socket, until a push of type "call" arrives; then it
registers, takes the call and sleeps again. Every event is one JSON line on standard output:
listening, push_received, push_rejected, waking, registered, register_failed, incoming, ringing,
progress, calling, answered, media (first RTP), held, resumed, bye (with its RTP counts), ended,
asleep, failed.
The password may be in {PASSWORD_VARIABLE} instead.
"""


class Phone:
    """Sleeps and wakes; everything happens on the thread that calls `run`."""

    def __init__(self, settings: PhoneSettings, events: EventWriter) -> None:
        """Raises OSError when the push listener's address cannot be bound."""
        self._settings = settings
        self._events = events
        self._softphone: Softphone | None = None
        self._sleep_at: float | None = None
        self._stopping = False
        self._finished_calls = 0
        self._talked = False
        self._listener = PushListener(
            (settings.listen_host, settings.listen_port),
            key=settings.push_key,
            status=self.status,
            rejected=lambda why: events.emit("push_rejected", reason=why),
        )

    def stop(self) -> None:
        """End soon. Safe in a signal handler."""
        self._stopping = True
        self._listener.inbox.put(("stop", {}))

    def status(self) -> dict[str, Any]:
        """For GET /status: `state` is asleep, awake, registered or in_call. Any thread."""
        softphone = self._softphone
        if softphone is None:
            return {"state": "asleep", "finished_calls": self._finished_calls}
        call = softphone.call
        awake = "registered" if softphone.registered else "awake"
        return {
            "state": awake if call is None else "in_call",
            "finished_calls": self._finished_calls + softphone.finished_calls,
            "rtp": call.meter.count.as_json() if call is not None else None,
        }

    def run(self) -> int:
        """Until `stop`, or until the told number of calls; the exit status."""
        self._listener.start()
        self._events.emit("listening", url=self._listener.url, pid=os.getpid())
        try:
            if self._settings.call is not None or self._settings.awake:
                self._wake()
            else:
                self._events.emit("asleep")
            while not self._done():
                self._turn()
        finally:
            self._sleep()
            self._listener.stop()
        return 0 if self._settings.call is None or self._talked else 1

    # ---- the loop ----

    def _done(self) -> bool:
        if self._stopping:
            return True
        wanted = 1 if self._settings.call is not None else self._settings.calls
        return wanted is not None and self._softphone is None and self._finished_calls >= wanted

    def _turn(self) -> None:
        if self._softphone is None:
            self._take(*self._listener.inbox.get())
            return
        self._pump(self._softphone)
        try:
            while True:
                self._take(*self._listener.inbox.get_nowait())
        except queue.Empty:
            pass

    def _pump(self, softphone: "Softphone") -> None:
        before, call = softphone.finished_calls, softphone.call
        softphone.pump(for_s=PUMP_S)
        now = time.monotonic()
        if softphone.finished_calls > before:
            self._sleep_at = now + self._settings.linger_s
            if call is not None and call.answered and call.meter.count.received_packets:
                self._talked = True
        caller = self._settings.call
        if caller is not None and softphone.call is None and softphone.finished_calls == 0:
            self._place(softphone, caller)
        if softphone.call is None and self._sleep_at is not None and now >= self._sleep_at:
            wanted = self._settings.calls
            if not self._settings.awake or (
                wanted is not None and softphone.finished_calls >= wanted
            ):
                self._sleep()

    def _place(self, softphone: "Softphone", uri: str) -> None:
        if softphone.register_failed:
            raise PushProxyError("the phone could not register, so it places no call")
        if softphone.registered or not self._settings.register:
            softphone.place_call(uri)

    def _take(self, kind: str, payload: dict[str, Any]) -> None:
        if kind in COMMANDS:
            call = self._softphone.call if self._softphone is not None else None
            if call is not None:
                {"hangup": call.end, "hold": call.hold, "resume": call.resume}[kind]()
        elif kind == "push":
            self._events.emit("push_received", payload=payload)
            if payload.get("type") != "call":
                return
            if self._softphone is None:
                self._wake()
            else:
                self._softphone.refresh()
            self._sleep_at = time.monotonic() + self._settings.wake_for_s

    def _wake(self) -> None:
        # Here, not at the top: only a phone needs the pjsua2 module, and only a waking one.
        from .softphone import Softphone

        self._events.emit("waking")
        self._softphone = Softphone(self._settings, self._events)

    def _sleep(self) -> None:
        softphone, self._softphone = self._softphone, None
        if softphone is not None:
            softphone.stop()
            self._finished_calls += softphone.finished_calls
            self._events.emit("asleep")
        self._sleep_at = None


def parse_arguments(argv: Sequence[str] | None) -> PhoneSettings:
    """Settings from the command line; exits with a message when it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="push-proxy phone",
        description="A simulated softphone that sleeps without any SIP socket.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--aor", required=True, help="address of record, sip:USER@DOMAIN")
    add("--password", default=os.environ.get(PASSWORD_VARIABLE, ""))
    add("--auth-user", help="user name for digest (default: the address of record's)")
    add("--registrar", help="sip:HOST[:PORT] (default: the address of record's domain)")
    add("--proxy", help="outbound proxy, sip:HOST[:PORT]")
    add("--transport", choices=TRANSPORTS, default="udp", help="for SIP (default %(default)s)")
    add("--ca-file", type=Path, help="authorities for TLS, PEM (default: the system's)")
    add("--no-verify", dest="verify", action="store_false", help="TLS with any certificate")
    add("--instance", help="URN for +sip.instance, such as urn:uuid:…")
    add("--bind", default="127.0.0.1", help="address for SIP and RTP (default %(default)s)")
    add("--listen", default="127.0.0.1:0", help="where pushes are taken (default: a free port)")
    add("--push-key-file", type=Path, help="file with the key of the pushes' signatures")
    add("--call", metavar="URI", help="place a call at once; exit 0 if it was answered and heard")
    add("--no-register", dest="register", action="store_false", help="with --call: do not register")
    add("--awake", action="store_true", help="stay registered instead of sleeping")
    add("--unregister", action="store_true", help="unregister before sleeping")
    add("--expires", dest="expires_s", type=int, default=300, metavar="S")
    add("--answer-code", type=int, default=200, help="486, 603 …: turn calls down")
    add("--answer-after", dest="answer_after_s", type=float, default=0.2, metavar="S")
    add("--no-ring", dest="ring", action="store_false", help="answer without 180")
    add("--hangup-after", dest="hangup_after_s", type=float, metavar="S")
    add("--tone", dest="tone_hz", type=int, default=440, metavar="HZ")
    add("--wake-for", dest="wake_for_s", type=float, default=30.0, metavar="S")
    add("--linger", dest="linger_s", type=float, default=0.3, metavar="S")
    add("--calls", type=int, help="end after so many calls")
    add("--verbose", action="store_true", help="pjsip's log on standard error")
    values = vars(parser.parse_args(argv))
    key_file: Path | None = values.pop("push_key_file")
    try:
        values["listen_host"], values["listen_port"] = parse_listen(values.pop("listen"))
        values["push_key"] = key_file.read_bytes().strip() if key_file is not None else None
        return PhoneSettings(**values)
    except (ConfigurationError, OSError) as error:
        parser.error(str(error))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one phone; 0 when it did what it was told, 1 when it failed, 2 for wrong options."""
    settings = parse_arguments(argv)
    events = EventWriter(claim_stdout(keep_chatter=settings.verbose))
    try:
        import pjsua2  # loaded while asleep, so that waking is quick
    except ImportError as error:
        print(f"the pjsua2 module is missing ({error}): run ./dev setup", file=sys.stderr)
        return 1
    try:
        phone = Phone(settings, events)
    except OSError as error:
        where = f"{settings.listen_host}:{settings.listen_port}"
        print(f"cannot take pushes at {where}: {error}; choose another --listen", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: phone.stop())
    try:
        return phone.run()
    except (PushProxyError, pjsua2.Error) as error:
        text = error.info() if isinstance(error, pjsua2.Error) else str(error)
        events.emit("failed", reason=text)
        print(f"the phone failed: {text}", file=sys.stderr)
        return 1
