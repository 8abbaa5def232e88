"""A PBX whose network and memory fail in the middle of our registrations."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.lab.pbx import Binding, Pbx, Registration
from tests.lab.sip_digest import digest_fields
from tests.lab.sip_message import Message, uri_of


@dataclass(slots=True)
class FailingPbx(Pbx):
    """What happens to a REGISTER with credentials is drawn for its user."""

    fate: Callable[[str], str] = field(default=lambda _user: "")
    """`lost`: taken, and the 200 never arrives; `stale`: its nonce has been forgotten; else as
    it should be."""
    gaps: list[str] = field(default_factory=list)
    """What should never have been seen."""
    counts: Counter[str] = field(default_factory=Counter)
    """REGISTERs by user."""
    seen: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By user, what happened to it."""
    _cseqs: dict[str, int] = field(default_factory=dict)
    _had: dict[str, Binding] = field(default_factory=dict)
    _unlucky: set[str] = field(default_factory=set)

    def _take_register(self, message: Message) -> bool:
        if not message.is_request or message.method != "REGISTER":
            return False
        user = uri_of(message.header("To")).removeprefix("sip:").partition("@")[0]
        repeated = message.cseq == self._cseqs.get(message.call_id)
        if message.cseq < self._cseqs.get(message.call_id, 0):
            self.gaps.append(f"{user}: CSeq {message.cseq} after {self._cseqs[message.call_id]}")
        self._cseqs[message.call_id] = message.cseq
        self._watch(user)
        self.counts[user] += 1
        asked = bool(message.get("Authorization")) and message.get("Expires") != "0"
        # One misfortune at a time: a PBX that forgets each nonce at once is another matter.
        fate = self.fate(user) if asked and not repeated and user not in self._unlucky else ""
        self._unlucky.discard(user)
        if fate:
            self._unlucky.add(user)
        if fate == "stale":
            self._nonces.discard(digest_fields(message.get("Authorization"))["nonce"])
        answer = self._judge(message)
        if answer.status != 200 and fate == "lost":
            fate = ""
        if fate:
            self.seen[user].add(fate)
        if message.get("Expires") == "0":
            self._had.pop(user, None)
        elif self._live(user):
            self._had[user] = self._live(user)[-1]
        self.registrations.append(Registration(message, answer.status))
        if fate != "lost":
            self.agent.respond(
                message, answer.status, answer.reason, headers=answer.headers, to_tag="pbx"
            )
        return True

    def _watch(self, user: str) -> None:
        """Nobody may be without a binding between two REGISTERs, nor have two."""
        had = self._had.get(user)
        if had is not None and had.expires_at_s < time.monotonic():
            self.gaps.append(f"{user}: expired {time.monotonic() - had.expires_at_s:.3f} s ago")
        if len(self._live(user)) > 1:
            self.gaps.append(f"{user}: two contacts {self._live(user)}")
