"""TLS certificates of ours: until when."""

from datetime import UTC, datetime, timedelta

from ..settings_certificates import SOON, utc_now
from ..settings_sip_checks import certificates_end
from .finding import Chart


async def examine(chart: Chart) -> None:
    """Each configured certificate's end. One that has ended is refused by the configuration."""
    ends = certificates_end(chart.settings)
    for section, at in ends.items():
        tell_end(chart, section, datetime.fromtimestamp(at, UTC))
    if not ends:
        chart.ok("own", "none configured: no SIP over TLS is taken, none is shown to PBXs")


def tell_end(chart: Chart, what: str, end: datetime) -> None:
    """A certificate's end, with what to do when it is near."""
    left = end - utc_now()
    until = f"{end:%Y-%m-%d %H:%M} UTC"
    if left <= timedelta(0):
        chart.fail(what, f"ended {until}: renew it")
    elif left < SOON:
        chart.hint(what, f"ends {until}, in {left.days} days: renew it")
    else:
        chart.ok(what, f"good until {until}")
