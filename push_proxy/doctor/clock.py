"""This machine's clock, against that of providers: tokens are signed with the time."""

import asyncio
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from ..settings import Settings
from .finding import Chart

_TIMEOUT_S = 5.0
_FINE_S, _WRONG_S = 5.0, 30.0
_APNS = "https://www.apple.com/"
"""APNs itself speaks HTTP/2 alone and tells no time without credentials."""
_FCM = "https://fcm.googleapis.com/"
_HMS = "https://push-api.cloud.huawei.com/"
_RUSTORE = "https://vkpns.rustore.ru/"


async def examine(chart: Chart) -> None:
    """The Date of each configured provider's server, with half the round trip taken off."""
    servers = dict(_servers(chart.settings))
    skews = await asyncio.gather(*(_skew_s(url, ca) for url, ca in servers.items()))
    known = [(skew, url) for skew, url in zip(skews, servers, strict=True) if skew is not None]
    if not known:
        chart.hint(
            "against providers", "not compared: none of them tells the time; see that NTP runs"
        )
        return
    # The one that is nearest: a server may be wrong, too.
    skew, url = min(known, key=lambda each: abs(each[0]))
    direction = "ahead of" if skew > 0 else "behind"
    text = f"{abs(skew):.0f} s {direction} {urlsplit(url).hostname}"
    if abs(skew) <= _FINE_S:
        chart.ok("against providers", f"right to {_FINE_S:g} s ({urlsplit(url).hostname})")
    elif abs(skew) <= _WRONG_S:
        chart.hint("against providers", f"{text}: see that NTP runs")
    else:
        chart.fail("against providers", f"{text}: providers refuse what we sign; set up NTP")


def _servers(settings: Settings) -> Iterator[tuple[str, Path | None]]:
    providers = settings.providers
    for fcm in providers.fcm:
        yield str(fcm.base_url or _FCM), fcm.ca_file
    for hms in providers.hms:
        yield str(hms.base_url or _HMS), hms.ca_file
    for rustore in providers.rustore:
        yield str(rustore.base_url or _RUSTORE), rustore.ca_file
    if any(apns.base_url is None for apns in providers.apns):
        yield _APNS, None


async def _skew_s(url: str, ca_file: Path | None) -> float | None:
    """By how much our clock is ahead of the server's; None: it does not say."""
    began = time.time()
    try:
        context = ssl.create_default_context(cafile=ca_file)
        async with (
            asyncio.timeout(_TIMEOUT_S),
            aiohttp.ClientSession() as session,
            session.get(url, ssl=context, allow_redirects=False) as response,
        ):
            theirs = parsedate_to_datetime(response.headers.get("Date", ""))
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        # Whether it can be reached is another hop's question.
        return None
    return (began + time.time()) / 2 - theirs.timestamp() - 0.5
