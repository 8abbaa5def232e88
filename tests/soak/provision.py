"""The accounts and devices of a soak."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .wire import REALM

if TYPE_CHECKING:
    from .engine import Soak

APPS = ("com.example.troubled",)
_POLICIES: dict[str, dict[str, Any]] = {
    "moved": {
        "rules": [{"when": "always", "redirect": f"sip:800@{REALM}"}],
        "targets": [f"sip:*@{REALM}"],
    },
    "barred": {"rules": [{"when": "always", "reject": {"status": 403}}]},
    "fallback": {
        "rules": [{"when": ["not_woken", "provider_unavailable"], "redirect": f"sip:801@{REALM}"}],
        "targets": [f"sip:*@{REALM}"],
    },
}
_WAKES: dict[str, dict[str, Any]] = {
    "awake": {"fresh_s": 3600},
    "together": {"ring_mode": "together"},
}
_AT_ONCE = 8


async def provision(soak: Soak) -> None:
    """All accounts, then their devices."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def put(path: str, body: dict[str, Any]) -> None:
        async with gate:
            await soak.insist("PUT", path, body)

    await asyncio.gather(
        *(
            put(f"/v1/accounts/{name}", account(group, name))
            for group, names in soak.groups.items()
            for name in names
        )
    )
    await asyncio.gather(*(put(*soak.device(name)) for name in soak.phones))


def account(group: str, name: str) -> dict[str, Any]:
    """The body of an account's PUT."""
    body: dict[str, Any] = {
        "aor": f"sip:{name}@{REALM}",
        "pbx": "soak",
        "topology": "hold" if group == "held" else "trunk",
        "app_auth": {"user": name, "realm": REALM, "password": f"pw-{name}"},
        "wake": _WAKES.get(group, {}),
        "policy": _POLICIES.get(group, {}),
    }
    if group == "held":
        body |= {"register": "always", "password": f"pw-{name}", "expires_s": 3600}
    return body
