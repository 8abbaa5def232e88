"""Which provider pushes to which device."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import structlog

from ..core.model import Device
from ..ports import AppHealth, PushProvider, SharedValues
from ..tasks import spawn

_log = structlog.get_logger(__name__)
_FINISH_S = 10.0
"""Longer than any push takes."""


@runtime_checkable
class HasVapidKey(Protocol):
    """A provider to whose services we name ourselves by a key (Web Push)."""

    def public_key(self, app_id: str) -> str | None:
        """In base64url, or None: no such app."""


class Providers:
    """All configured providers; replaced as a whole when the configuration is read again."""

    def __init__(self, providers: Iterable[PushProvider] = ()) -> None:
        self._providers = tuple(providers)
        self._shared: SharedValues | None = None
        self._in_use: Counter[PushProvider] = Counter()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._idle: dict[PushProvider, asyncio.Event] = {}
        self._closing: dict[asyncio.Task[None], PushProvider] = {}

    def for_device(self, device: Device) -> PushProvider | None:
        """The provider that the device names, if it is configured for the device's app."""
        return self._find(device.provider, device.app_id)

    def serves(self, provider: str, app_id: str) -> bool:
        """Whether pushes for this app can be sent at all."""
        return self._find(provider, app_id) is not None

    def app_for(self, provider: str, pn_param: str) -> str | None:
        """The app that RFC 8599's ``pn-provider`` and ``pn-param`` name; None: none of ours."""
        for one in self._providers:
            if one.name == provider and (app_id := one.app_for(pn_param)) is not None:
                return app_id
        return None

    def vapid_key(self, provider: str, app_id: str) -> str | None:
        """The public key that apps subscribe with, where the provider has one (RFC 8292)."""
        one: object = self._find(provider, app_id)
        return one.public_key(app_id) if isinstance(one, HasVapidKey) else None

    def names(self) -> tuple[str, ...]:
        """The providers that are configured."""
        return tuple(provider.name for provider in self._providers)

    def health(self) -> tuple[tuple[str, AppHealth], ...]:
        """Every configured app with its provider's name."""
        return tuple((one.name, app) for one in self._providers for app in one.health())

    def start(self, shared: SharedValues) -> None:
        """Begin what runs in the background, also for providers that replace these."""
        self._shared = shared
        for provider in self._providers:
            provider.start(shared)

    @contextmanager
    def in_use(self, provider: PushProvider) -> Iterator[None]:
        """Around a push: a provider that is replaced meanwhile finishes it first."""
        self._in_use[provider] += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._in_use[provider] -= 1
            if not self._in_use[provider]:
                del self._in_use[provider]
                if (idle := self._idle.get(provider)) is not None:
                    idle.set()
                if not self._in_use:
                    self._quiet.set()

    def replace(self, providers: Iterable[PushProvider]) -> None:
        """Use these from now on; the former ones are closed when their pushes are answered."""
        former, self._providers = self._providers, tuple(providers)
        if self._shared is not None:
            for provider in self._providers:
                provider.start(self._shared)
        for provider in former:
            closing = spawn(self._close(provider), name="close a push provider")
            self._closing[closing] = provider
            closing.add_done_callback(self._closing.pop)

    async def settle(self, *, within_s: float) -> None:
        """Return when no push is on its way any more, or after that time."""
        try:
            async with asyncio.timeout(within_s):
                await self._quiet.wait()
        except TimeoutError:
            _log.warning("stopped in the middle of pushes", count=self._in_use.total())

    async def aclose(self) -> None:
        """Close all, whatever they are doing."""
        providers = (*self._providers, *self._closing.values())
        self._providers = ()
        tasks = tuple(self._closing)
        for closing in tasks:
            closing.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.gather(*(provider.aclose() for provider in providers))

    async def _close(self, provider: PushProvider) -> None:
        self._idle[provider] = idle = asyncio.Event()
        try:
            if self._in_use[provider]:
                async with asyncio.timeout(_FINISH_S):
                    await idle.wait()
        except TimeoutError:
            _log.warning("push provider closed in the middle of a push", provider=provider.name)
        finally:
            del self._idle[provider]
        await provider.aclose()

    def _find(self, name: str, app_id: str) -> PushProvider | None:
        for provider in self._providers:
            if provider.name == name and provider.serves(app_id):
                return provider
        return None
