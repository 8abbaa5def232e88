"""The phone while it is awake: a pjsua2 endpoint with one SIP transport and one account."""

import time
from typing import Any

import pjsua2 as pj

from .call import PhoneCall
from .callbacks import guarded, header
from .events import EventWriter
from .media import CLOCK_HZ, prefer_g711
from .settings import PhoneSettings

UNREGISTER_WITHIN_S = 2.0
_NO_TIMER = 0
_RECONNECT_S = 1
_TRANSPORTS = {
    "udp": pj.PJSIP_TRANSPORT_UDP,
    "tcp": pj.PJSIP_TRANSPORT_TCP,
    "tls": pj.PJSIP_TRANSPORT_TLS,
}


class Softphone:
    """Exists only while the phone is awake: construction opens sockets, `stop` closes them.

    pjsip runs without threads for SIP: callbacks come in `pump`, on the caller's thread.
    """

    def __init__(self, settings: PhoneSettings, events: EventWriter) -> None:
        self.failures: list[Exception] = []
        self.call: PhoneCall | None = None
        self.registered = False
        self.register_failed = False
        self.finished_calls = 0
        self._settings = settings
        self._events = events
        self._endpoint = pj.Endpoint()
        self._endpoint.libCreate()
        self._endpoint.libInit(_endpoint_config(settings))
        self._endpoint.transportCreate(_TRANSPORTS[settings.transport], _transport_config(settings))
        self._endpoint.audDevManager().setNullDev()
        self._endpoint.libStart()
        prefer_g711(self._endpoint)
        self._account: _Account | None = _Account(self, settings, events)
        self._account.create(_account_config(settings))

    def pump(self, *, for_s: float) -> None:
        """Let SIP happen for at most `for_s`. Raises what a callback raised."""
        self._endpoint.libHandleEvents(round(for_s * 1000))
        if self.call is not None:
            self.call.tick()
            if self.call.ended:
                self.call = None
                self.finished_calls += 1
        if self.failures:
            raise self.failures.pop(0)

    def refresh(self) -> None:
        """Register again now: somebody waits for it."""
        if self._account is not None and self._settings.register:
            self._account.setRegistration(True)

    def place_call(self, uri: str) -> None:
        """Send an INVITE to `uri`."""
        self.call = self._new_call(pj.PJSUA_INVALID_ID)
        self.call.place(self._settings.by_transport(uri))

    def take_call(self, call_id: int) -> None:
        """Take a new INVITE; a second one meanwhile is busy."""
        call = self._new_call(call_id)
        if self.call is not None:
            busy = pj.CallOpParam()
            busy.statusCode = 486
            call.hangup(busy)
            return
        self.call = call
        call.take()

    def stop(self) -> None:
        """Close every socket. Without `unregister` nothing is sent: the app is just gone."""
        self.call = None
        account, self._account = self._account, None
        if account is not None and self._settings.unregister and self.registered:
            account.setRegistration(False)
            self._pump_until_unregistered()
        del account
        flags = 0 if self._settings.unregister else pj.PJSUA_DESTROY_NO_NETWORK
        self._endpoint.libDestroy(flags)

    def _pump_until_unregistered(self) -> None:
        deadline = time.monotonic() + UNREGISTER_WITHIN_S
        while self.registered and time.monotonic() < deadline:
            self._endpoint.libHandleEvents(10)

    def _new_call(self, call_id: int) -> PhoneCall:
        return PhoneCall(
            self._account,
            call_id,
            settings=self._settings,
            events=self._events,
            failures=self.failures,
        )


class _Account(pj.Account):  # type: ignore[misc]  # pjsua2 has no types
    def __init__(self, phone: Softphone, settings: PhoneSettings, events: EventWriter) -> None:
        super().__init__()
        self.failures = phone.failures
        self._phone = phone
        self._settings = settings
        self._events = events

    @guarded
    def onRegState(self, prm: Any) -> None:
        """The registrar has answered, or did not."""
        active = prm.code // 100 == 2 and self.getInfo().regIsActive
        self._phone.registered = active
        self._phone.register_failed = prm.code >= 300
        if active:
            self._events.emit("registered", code=prm.code, expires_s=prm.expiration)
        elif prm.code // 100 == 2:
            self._events.emit("unregistered", code=prm.code)
        else:
            self._events.emit("register_failed", code=prm.code, reason=prm.reason)

    @guarded
    def onIncomingCall(self, prm: Any) -> None:
        """An INVITE came."""
        message = str(prm.rdata.wholeMsg)
        self._events.emit(
            "incoming",
            **{"from": header(message, "From")},
            to=header(message, "To"),
            sip_call_id=header(message, "Call-ID") or header(message, "i"),
            x_push_id=header(message, "X-Push-ID"),
            p_called_party_id=header(message, "P-Called-Party-ID"),
            source=prm.rdata.srcAddress,
        )
        self._phone.take_call(prm.callId)


def _endpoint_config(settings: PhoneSettings) -> pj.EpConfig:
    config = pj.EpConfig()
    config.uaConfig.threadCnt = 0
    config.uaConfig.mainThreadOnly = True
    config.uaConfig.userAgent = "push-proxy simulated phone"
    config.logConfig.level = config.logConfig.consoleLevel = 4 if settings.verbose else 0
    media = config.medConfig
    media.clockRate = media.sndClockRate = CLOCK_HZ
    media.noVad = True
    media.ecTailLen = 0
    # Without it the null device, our clock, stops a second after the start.
    media.sndAutoCloseTime = -1
    return config


def _transport_config(settings: PhoneSettings) -> pj.TransportConfig:
    config = pj.TransportConfig()
    config.port, config.boundAddress = 0, settings.bind
    if settings.transport == "tls":
        config.tlsConfig.verifyServer = settings.verify
        if settings.verify:
            config.tlsConfig.CaListFile = str(settings.authorities)
    return config


def _account_config(settings: PhoneSettings) -> pj.AccountConfig:
    config = pj.AccountConfig()
    config.idUri = f"<{settings.aor}>"
    if settings.register:
        config.regConfig.registrarUri = settings.registrar_uri
        config.regConfig.timeoutSec = settings.expires_s
    # Over UDP the same REGISTER is sent again when the next push says so, not by a timer of its
    # own. A lost connection is noticed, and an app makes a new one while it may run.
    streams = settings.transport != "udp"
    config.regConfig.retryIntervalSec = _RECONNECT_S if streams else _NO_TIMER
    config.regConfig.randomRetryIntervalSec = _NO_TIMER
    if settings.instance is not None:
        config.regConfig.contactParams = f';+sip.instance="<{settings.instance}>"'
    if settings.proxy_route is not None:
        config.sipConfig.proxies.append(settings.proxy_route)
    config.sipConfig.authCreds.append(
        pj.AuthCredInfo("digest", "*", settings.auth_user or settings.user, 0, settings.password)
    )
    config.natConfig.contactRewriteUse = 0
    config.natConfig.sipOutboundUse = 0
    config.natConfig.udpKaIntervalSec = _NO_TIMER
    config.mediaConfig.transportConfig.boundAddress = settings.bind
    # Free ports: several phones run on one machine.
    config.mediaConfig.transportConfig.port = 0
    config.videoConfig.autoTransmitOutgoing = False
    return config
