"""The PBX's own log as values: what it received, relayed, and answered by itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

_LINE = re.compile(r"PBX (event=.*)$", re.MULTILINE)
_FIELD = re.compile(r"(\w+)=(\S*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PbxEvent:
    """One step of the PBX; empty text and status 0 where a field does not apply."""

    event: str
    """`request` (received), `relay` (a branch leaves), `response` (received) or `own-response`."""
    at: float = 0.0
    """Wall-clock time in seconds."""
    method: str = ""
    callid: str = ""
    cseq: int = 0
    from_user: str = ""
    to_user: str = ""
    from_tag: str = ""
    to_tag: str = ""
    proto: str = ""
    """`udp`, `tcp` or `tls`: how it came."""
    source: str = ""
    """`host:port` of the sender."""
    ruri: str = ""
    status: int = 0
    reason: str = ""

    def matches(self, **wanted: str | int) -> bool:
        """Whether every attribute named in `wanted` has that value."""
        return all(getattr(self, name) == value for name, value in wanted.items())


_NAMES = {"from": "from_user", "to": "to_user", "fromtag": "from_tag", "totag": "to_tag"}
_KNOWN = {entry.name for entry in fields(PbxEvent)}


def parse_log(text: str) -> list[PbxEvent]:
    """Every complete `PBX event=...` line of `text`, oldest first; other lines are ignored.

    Two things are not in the log: the ACK of the PBX's own refusals, and the relay of an ACK.
    """
    complete = text[: text.rfind("\n") + 1]
    events = [_parse_line(match[1]) for match in _LINE.finditer(complete)]
    return sorted(events, key=lambda event: event.at)  # its workers write out of order


def _parse_line(line: str) -> PbxEvent:
    # The reason phrase has spaces, so it stands last.
    line, _, reason = line.partition(" reason=")
    values = {_NAMES.get(name, name): value for name, value in _FIELD.findall(line)}
    texts = {
        name: "" if value == "<null>" else value
        for name, value in values.items()
        if name in _KNOWN and name not in ("at", "cseq", "status")
    }
    return PbxEvent(
        **texts,
        at=float(values.get("at", 0)),
        cseq=int(values.get("cseq", 0)),
        status=int(values.get("status", 0)),
        reason=reason.strip(),
    )
