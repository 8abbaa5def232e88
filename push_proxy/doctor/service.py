"""The service itself, if it is running: what it says of its state."""

import ipaddress
import json

import aiohttp

from .finding import Chart

_TIMEOUT_S = 3.0


async def examine(chart: Chart) -> None:
    """``/readyz`` of the service that the configuration describes."""
    host, port = chart.settings.http.listen_address
    if port == 0:
        chart.ok("readyz", "not asked: http.listen has port 0")
        return
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "::1" if address.version == 6 else "127.0.0.1"
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://{where}/readyz") as response,
        ):
            said = json.loads(await response.read())
            state, reasons, impaired = said["status"], said["reasons"], said["providers"]
    except aiohttp.ClientConnectorError:
        chart.ok("readyz", f"not running: nothing listens at {where}")
        return
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
        chart.fail(
            "readyz",
            f"{where} does not answer like this service ({type(error).__name__}): does another "
            "program use http.listen?",
        )
        return
    if state == "ready":
        chart.ok("readyz", f"running at {where}, ready")
    else:
        chart.fail("readyz", " ".join([f"running at {where}, {state}.", *reasons]))
    for app in impaired:
        what = f"{app['provider']} {app['app_id']}"
        chart.fail(what, f"{app['state']} ({app['reason']}): {app['advice']}")
