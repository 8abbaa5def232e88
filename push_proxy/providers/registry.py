"""Which provider pushes to which device."""

import asyncio
from collections.abc import Iterable

from ..core.model import Device
from ..ports import PushProvider


class Providers:
    """All configured providers; replaced as a whole when the configuration is read again."""

    def __init__(self, providers: Iterable[PushProvider] = ()) -> None:
        self._providers = tuple(providers)

    def for_device(self, device: Device) -> PushProvider | None:
        """The provider that the device names, if it is configured for the device's app."""
        return self._find(device.provider, device.app_id)

    def serves(self, provider: str, app_id: str) -> bool:
        """Whether pushes for this app can be sent at all."""
        return self._find(provider, app_id) is not None

    async def replace(self, providers: Iterable[PushProvider]) -> None:
        """Use these from now on and close the former ones."""
        former, self._providers = self._providers, tuple(providers)
        await asyncio.gather(*(provider.aclose() for provider in former))

    async def aclose(self) -> None:
        """Close all."""
        await self.replace(())

    def _find(self, name: str, app_id: str) -> PushProvider | None:
        for provider in self._providers:
            if provider.name == name and provider.serves(app_id):
                return provider
        return None
