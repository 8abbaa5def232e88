"""Push parameters stay here: neither PBXs nor other phones learn a token (RFC 8599 §4.1.1, §13).

But for ``pn-purr``, which says nothing and has to come back in the requests of a dialog (§6).
"""

import re
from urllib.parse import unquote

_URI_PARAM = re.compile(r";\s*([^;=>?\s\"]+)(?:\s*=\s*(?:\"[^\"]*\"|[^;>?\s,\"]*))?")
_QUOTED = re.compile(r'\s*"(?:[^"\\]|\\.)*+"', re.DOTALL)
_MAY_BE = ("pn-", "app-id", "%")


def without_push_params(text: str) -> str:
    """A Contact's value, or a URI, without ``pn-*`` and what Linphone had before (``app-id``)."""
    lower = text.lower()
    if not any(part in lower for part in _MAY_BE):
        return text
    quoted = _QUOTED.match(text)
    start = quoted.end() if quoted else 0  # a display name is text, whatever stands in it
    return text[:start] + _URI_PARAM.sub(_kept, text[start:])


def _kept(match: re.Match[str]) -> str:
    name = unquote(match[1]).lower()
    mine = name.startswith("pn-") or name == "app-id"
    return "" if mine and name != "pn-purr" else match[0]
