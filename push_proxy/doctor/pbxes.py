"""PBXs: found by DNS, and each of their servers answers."""

import asyncio
import ssl

from cryptography import x509

from ..configured import client_tls, configured_pbxes
from ..core.model import Address
from ..core.pbx import Endpoint, Pbx, endpoint, is_literal
from ..runtime.pbx_locator import DnsLocator
from ..settings import Settings
from ..signaling.contract import TlsFiles
from .certificates import tell_end
from .finding import Chart
from .sip_options import options_status

_TIMEOUT_S = 5.0
_AT_ONCE = 16


async def examine(chart: Chart) -> None:
    """Every configured PBX that has a registrar, several at once."""
    pbxes = configured_pbxes(chart.settings)
    if not pbxes:
        chart.ok("configured", "none: accounts name their registrars themselves")
    turn = asyncio.Semaphore(_AT_ONCE)
    locator = DnsLocator(chart.settings.sip.nameserver_addresses)

    async def one(pbx: Pbx) -> None:
        async with turn:
            await _pbx(chart, pbx, locator)

    await asyncio.gather(*(one(pbx) for pbx in pbxes.values()))


async def _pbx(chart: Chart, pbx: Pbx, locator: DnsLocator) -> None:
    if pbx.registrar is None:
        chart.ok(pbx.key, "not asked: it calls us, and has no registrar")
        return
    end = endpoint(pbx.registrar, default=pbx.transport)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            located = await locator.locate(end)
    except TimeoutError:
        chart.fail(pbx.key, f"{end.host}: DNS does not answer: check sip.nameservers")
        return
    except (OSError, UnicodeError) as error:
        chart.fail(pbx.key, f"{end.host} does not resolve: {error}; check the name and DNS")
        return
    if not located.addresses:
        chart.fail(pbx.key, f"{end.host}: DNS says that there is no such service")
    await asyncio.gather(*(_server(chart, pbx, end, at) for at in located.addresses))


async def _server(chart: Chart, pbx: Pbx, end: Endpoint, at: Address) -> None:
    host = f"[{at.host}]" if ":" in at.host else at.host
    what = f"{pbx.key} {at.transport}:{host}:{at.port}"
    try:
        if at.transport == "udp":
            status = await options_status(at, name=end.host, timeout_s=_TIMEOUT_S)
            chart.ok(what, f"answers OPTIONS: {status}")
        else:
            await _connect(chart, what, pbx, end, at)
    except TimeoutError:
        chart.fail(
            what,
            f"silent for {_TIMEOUT_S:g} s: is it running, and does a firewall let us through? "
            + ("Some PBXs drop OPTIONS from strangers." if at.transport == "udp" else ""),
        )
    except ssl.SSLCertVerificationError as error:
        chart.fail(
            what,
            f"its certificate is refused: {error.verify_message}; check pbxes.{pbx.key}.tls.ca and "
            "server_name",
        )
    except ssl.SSLError as error:
        chart.fail(what, f"no TLS: {error.reason}; is this its TLS port?")
    except OSError as error:
        chart.fail(what, f"{error.strerror or error}: is it running, and is the port right?")


async def _connect(chart: Chart, what: str, pbx: Pbx, end: Endpoint, at: Address) -> None:
    context, name = None, None
    if at.transport == "tls":
        context = _context(chart.settings, pbx)
        name = pbx.server_name or ("" if is_literal(end.host) else end.host) or at.host
    async with asyncio.timeout(_TIMEOUT_S):
        _, writer = await asyncio.open_connection(
            at.host, at.port, ssl=context, server_hostname=name
        )
    try:
        chart.ok(what, "takes TLS connections" if context else "takes connections")
        shown = writer.get_extra_info("ssl_object")
        if shown is not None and (der := shown.getpeercert(binary_form=True)):
            end_of_it = x509.load_der_x509_certificate(der).not_valid_after_utc
            tell_end(chart, f"{what} certificate", end_of_it)
    finally:
        writer.transport.abort()


def _context(settings: Settings, pbx: Pbx) -> ssl.SSLContext:
    files: TlsFiles = client_tls(settings)[pbx.tls_profile]
    context = ssl.create_default_context(cafile=files.ca or None)
    if files.certificate:
        context.load_cert_chain(files.certificate, files.key)
    if not files.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
