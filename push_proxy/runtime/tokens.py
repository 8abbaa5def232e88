"""Looks after push tokens: what providers say of them, and who is told when one ends."""

import time
from collections.abc import Mapping

import structlog

from ..core.events import PushOutcome
from ..core.ids import AccountKey, DeviceId, Instant, split_account_key
from ..core.model import Device, TokenState
from ..core.notices import Notice, NoticeType
from ..core.payload import Push
from ..core.token_fate import TokenNews, dropped, learned
from ..observability.metrics import Metrics
from ..ports import Clock, Notices, PushResult, TokenFate
from .changes import Change, DeviceEvicted, DeviceMoved
from .directory import Directory

_log = structlog.get_logger(__name__)


class Tokens:
    """Drops tokens in memory at once, so that no second push goes to a dead one."""

    def __init__(
        self, *, directory: Directory, clock: Clock, metrics: Metrics, notices: Notices
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._metrics = metrics
        self._notices = notices

    def start(self) -> None:
        """Tell of devices that others push aside, from now on."""
        self._directory.subscribe(self._on_change)

    def learn(self, push: Push, result: PushResult) -> None:
        """A provider has answered this push."""
        device = self._directory.device(push.device.account, push.device.device)
        if device is None:
            return
        alert = result.of_alert_token
        token = (push.device.alert_token or "") if alert else push.device.token
        news = TokenNews(
            token=token,
            alert=alert,
            sent_at=push.sent_at,
            state=_state(result),
            reason=result.reason,
            dead_since=self._on_our_clock(result.dead_since),
            environment=result.environment,
        )
        after = learned(device, news, self._clock.now())
        if after.device is not device:
            self._directory.put_device_behind(after.device)
        if after.dropped:
            self._tell_dropped(device, result.reason, {"token": "alert"} if alert else {})

    def drop(self, device: Device, reason: str) -> None:
        """End its token for a reason of our own."""
        self._directory.put_device_behind(dropped(device, reason, self._clock.now()))
        self._tell_dropped(device, reason)

    def _on_our_clock(self, at: Instant | None) -> Instant | None:
        """Providers have the time of day; ours never goes back, and may lag behind."""
        return None if at is None else Instant(at - (time.time() - self._clock.now()))

    def _on_change(self, change: Change) -> None:
        match change:
            case DeviceMoved():
                self._tell_moved(change.old, change.to)
            case DeviceEvicted():
                self._tell_dropped(change.old, "evicted", {"for_device": change.by.device})
            case _:
                pass

    def _tell_moved(self, old: Device, to: Device) -> None:
        # Another tenant's names are none of this one's business.
        (tenant, _), (to_tenant, to_account) = map(split_account_key, (old.account, to.account))
        names = {"to_account": to_account, "to_device": to.device} if tenant == to_tenant else {}
        _log.info("push token moved to another device", account=old.account, device=old.device)
        self._tell(NoticeType.DEVICE_MOVED, old.account, old.device, names)

    def _tell_dropped(
        self, device: Device, reason: str, more: Mapping[str, str] | None = None
    ) -> None:
        if device.has_target:
            self._metrics.token_dropped(device.provider, reason)
        _log.info(
            "push token dropped",
            account=device.account,
            device=device.device,
            provider=device.provider,
            reason=reason,
        )
        data = {"reason": reason, "provider": device.provider, "app_id": device.app_id}
        self._tell(
            NoticeType.TOKEN_INVALID, device.account, device.device, {**data, **(more or {})}
        )

    def _tell(
        self, kind: NoticeType, account: AccountKey, device: DeviceId, data: Mapping[str, str]
    ) -> None:
        self._notices.tell(
            Notice(type=kind, at=self._clock.now(), account=account, device=device, data=data)
        )


def _state(result: PushResult) -> TokenState | None:
    match result.token:
        case TokenFate.DEAD:
            return TokenState.DEAD
        case TokenFate.WRONG_APP:
            return TokenState.WRONG_APP
        case TokenFate.KEEP:
            return TokenState.GOOD if result.outcome is PushOutcome.ACCEPTED else None
