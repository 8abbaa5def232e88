"""What a log may show of numbers, names and secrets: enough to recognize, too little to use."""

import re
from collections.abc import Callable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

HIDDEN = "[hidden]"
_SHOWN_OF_TOKEN = 4
_SHOWN_OF_NUMBER = 3
_LONGEST_CUT = 4
# Header fields of SIP and HTTP that prove who one is; also folded lines that continue them.
_PROOF = re.compile(
    r"(?im)^((?:proxy-)?authorization|(?:set-)?cookie|x-api-key)([ \t]*:)[^\r\n]*"
    r"(?:\r?\n[ \t][^\r\n]*)*"
)
# Linphone joins two tokens by ``&``; ``pn-tok`` is its older name of one.
_PUSH_PARAMETER = re.compile(r"(?i)(pn-prid|pn-param|pn-tok)\s*=\s*[^;>\s\"]+")
_SIP_USER = re.compile(r"(?i)(sips?:|tel:)([^@;>\s\"]+)")


def number(text: str) -> str:
    """A phone number or user part: its last three characters, ``…456``; short ones as they are."""
    if len(text) <= _LONGEST_CUT:
        return text
    return f"…{text[-_SHOWN_OF_NUMBER:]}"


def token(text: str) -> str:
    """A push token: its first four characters, ``fGh2…``, if it is long enough to stay secret."""
    return f"{text[:_SHOWN_OF_TOKEN]}…" if len(text) >= 4 * _SHOWN_OF_TOKEN else HIDDEN


def uri(text: str) -> str:
    """SIP and tel URIs anywhere in a text, with their users cut short and push tokens hidden."""
    cut = _SIP_USER.sub(lambda found: found[1] + number(found[2]), text)
    return _PUSH_PARAMETER.sub(lambda found: f"{found[1]}={HIDDEN}", cut)


def message(text: str) -> str:
    """A SIP or HTTP message without proofs of identity and push tokens."""
    cut = _PROOF.sub(lambda found: f"{found[1]}{found[2]} {HIDDEN}", text)
    return _PUSH_PARAMETER.sub(lambda found: f"{found[1]}={HIDDEN}", cut)


def hide(_: object) -> str:
    """A secret: nothing of it."""
    return HIDDEN


RULES: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        **dict.fromkeys(("token", "alert_token", "push_token"), token),
        **dict.fromkeys(("caller", "callee", "caller_number", "number", "user"), number),
        **dict.fromkeys(("caller_name",), hide),
        **dict.fromkeys(("from_uri", "to_uri", "request_uri", "contact", "uri", "aor"), uri),
        **dict.fromkeys(("raw", "sip"), message),
        **dict.fromkeys(
            ("password", "ha1", "credentials", "authorization", "api_key", "device_key",
             "hmac_key", "key", "enrolment_code", "secret", "response_hash"),
            hide,
        ),
    }
)  # fmt: skip
"""By the name of a log line's field."""


def processor(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For structlog: applies `RULES` to a line's fields."""
    for name, rule in RULES.items():
        if (value := event.get(name)) is not None:
            text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
            event[name] = rule(text)
    return event
