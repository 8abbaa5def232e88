"""What a person should do about a push that was not taken: one sentence for each reason.

The reasons are those of `providers`; `push_reasons` has the tables.
"""

import re

from .push_reasons import ANY, BY_PROVIDER, BY_STATUS, OAUTH_BY_STATUS

ACCEPTED = (
    "The provider took it. If the phone does not wake, look at the phone: is it on and online, and "
    "may the app receive pushes in the background?"
)
_ELSEWHERE = "See docs/operator-guide.md, Push providers."
_HTTP = re.compile(r"(oauth_)?http_(\d{3})")


def push_advice(provider: str, reason: str) -> str:
    """What to do about this reason of this provider; where to read on, if it is unknown."""
    return known_advice(provider, reason) or _ELSEWHERE


def known_advice(provider: str, reason: str) -> str:
    """As `push_advice`; empty for a reason that is not in the tables."""
    own = BY_PROVIDER.get(provider, {}).get(reason) or ANY.get(reason)
    if own is not None:
        return own
    if (status := _HTTP.fullmatch(reason)) is None:
        return ""
    by_status = OAUTH_BY_STATUS if status[1] else BY_STATUS
    return by_status.get(int(status[2])) or by_status[int(status[2]) // 100 * 100]
