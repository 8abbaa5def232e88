"""Pushes to iPhones by Apple's push service."""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace

import structlog

from ..core.events import PushOutcome
from ..core.payload import Privacy, Push
from ..core.push_advice import push_advice
from ..ports import AppHealth, AppState, Check, Clock, PushResult, SharedValues, TokenFate
from .apns_app import ApnsApp, Server
from .apns_check import check_app
from .apns_credential import Credential
from .apns_opening import Opener
from .apns_payload import to_alert_token
from .apns_pool import ApnsPool
from .apns_request import ApnsTimes, NoConnection
from .apns_sending import Sending
from .apns_verdicts import BAD_DEVICE_TOKEN
from .attempt import MISCONFIGURED, Attempt
from .delivery import Delivery, Send, on_wall_clock

_log = structlog.get_logger(__name__)
_TOKEN = re.compile(r"[0-9A-Fa-f]{2,512}")


class ApnsProvider:
    """`ports.PushProvider` by APNs: apps of one key share their connections."""

    name = "apns"

    def __init__(
        self,
        apps: Iterable[ApnsApp],
        clock: Clock,
        *,
        privacy: Privacy = Privacy.FULL,
        request_s: float = 2.5,
        times: ApnsTimes | None = None,
    ) -> None:
        """``request_s``: how long each of the (at most two) requests of a push may take.

        Raises `errors.ConfigurationError` when a file of certificates cannot be used.
        """
        self._apps = {app.app_id: app for app in apps}
        self._clock = clock
        self._privacy = privacy
        self._request_s = request_s
        self._times = times or ApnsTimes()
        self._pools: dict[tuple[str, Server, str], ApnsPool] = {}
        # Made here: reading the system's certificates takes longer than a call may stand still.
        self._tls = {_trust(app): app.credential.tls(app.ca_file) for app in self._apps.values()}
        self._closed = False
        self._delivery = Delivery(self.name, clock, request_s=request_s)
        for app in self._apps.values():
            if fault := app.credential.fault():
                _log.error(
                    "no push can be sent",
                    app_id=app.app_id,
                    reason=fault,
                    advice=push_advice(self.name, fault),
                )

    def serves(self, app_id: str) -> bool:
        """Whether this app is configured."""
        return app_id in self._apps

    def app_for(self, pn_param: str) -> str | None:
        """The app that RFC 8599's ``pn-param`` (``TEAM.BUNDLE.voip``) names."""
        named = (app.app_id for app in self._apps.values() if app.is_meant_by(pn_param))
        return next(named, None)

    def start(self, shared: SharedValues) -> None:
        """Get provider tokens and open connections, before the first call needs them."""
        for credential in self._credentials():
            credential.start(shared)
        for app in self._apps.values():
            if not app.credential.fault():
                self._pool(app, app.environment)

    async def send(self, push: Push) -> PushResult:
        """Send it as its kind wants; once more with the same ``apns-id`` where that may help."""
        device, alert = push.device, to_alert_token(push.type)
        app = self._apps.get(device.app_id)
        if app is None:
            return PushResult(outcome=PushOutcome.MISCONFIGURED, reason="unknown_app", attempts=0)
        token = device.alert_token if alert else device.token
        if alert and not token:
            return PushResult(outcome=PushOutcome.SKIPPED, reason="no_alert_token", attempts=0)
        if not _TOKEN.fullmatch(token or ""):
            return PushResult(
                outcome=PushOutcome.REJECTED,
                reason=BAD_DEVICE_TOKEN,
                attempts=0,
                token=TokenFate.DEAD,
                of_alert_token=alert,
            )
        if fault := app.credential.fault():
            refused = await self._delivery.deliver(push, _refusing(fault))
            return replace(refused, attempts=0)
        sending = Sending(
            on_wall_clock(push, self._clock.now()),
            app,
            token=token or "",
            privacy=self._privacy,
            pool=lambda environment: self._pool(app, environment),
        )
        result = await self._delivery.deliver(push, sending.send)
        accepted = result.outcome is PushOutcome.ACCEPTED
        return replace(result, of_alert_token=alert, provider_id=push.id if accepted else "")

    def health(self) -> Sequence[AppHealth]:
        """How each app does; one whose certificate is over does badly, whatever was sent."""
        return [self._health(app) for app in self._apps.values()]

    async def check(self) -> AsyncIterator[Check]:
        """Connect and push to a token that nobody has, in each environment that is in use."""
        for app in self._apps.values():
            for environment in app.servers:
                if environment == app.environment or self._key(app, environment) in self._pools:
                    pool = self._pool(app, environment)
                    async for line in check_app(
                        app, environment, pool, timeout_s=2 * self._request_s
                    ):
                        yield line

    async def aclose(self) -> None:
        """Close connections."""
        self._closed = True
        pools, self._pools = tuple(self._pools.values()), {}
        for pool in pools:
            await pool.aclose()
        for credential in self._credentials():
            await credential.aclose()

    def _credentials(self) -> tuple[Credential, ...]:
        return tuple(
            {app.credential.identity: app.credential for app in self._apps.values()}.values()
        )

    def _health(self, app: ApnsApp) -> AppHealth:
        health = self._delivery.circuits.health(
            app.app_id, credential_ends_at=app.credential.ends_at
        )
        if fault := app.credential.fault():
            return replace(health, state=AppState.BLOCKED, reason=fault)
        return health

    def _key(self, app: ApnsApp, environment: str) -> tuple[str, Server, str]:
        identity, ca_file = _trust(app)
        return identity, app.servers[environment], ca_file

    def _pool(self, app: ApnsApp, environment: str) -> ApnsPool:
        """Its connections, opened when they are first asked for and kept from then on.

        Raises `NoConnection` once all is closed.
        """
        if self._closed:
            raise NoConnection("closing")
        key = self._key(app, environment)
        pool = self._pools.get(key)
        if pool is None:
            server = app.servers[environment]
            opener = Opener(server.host, server.port, self._tls[_trust(app)])
            pool = self._pools[key] = ApnsPool(opener, app.credential, times=self._times)
        return pool


def _trust(app: ApnsApp) -> tuple[str, str]:
    """What its connections show, and whom they believe."""
    return app.credential.identity, str(app.ca_file)


def _refusing(fault: str) -> Send:
    async def refuse(_: int, __: float) -> Attempt:
        return Attempt(MISCONFIGURED, fault)

    return refuse
