"""Which request meets which fate: orders of a test to a double."""

from __future__ import annotations

from collections import defaultdict, deque

from .apns_play import BY_THE_RULES, Play


class Fates:
    """Plays for the next requests, of anybody or of one token, and for all that follow."""

    def __init__(self) -> None:
        self.always: Play = BY_THE_RULES
        """The fate of every request that no other play is meant for."""
        self._next: deque[Play] = deque()
        self._for_token: dict[str, deque[Play]] = defaultdict(deque)
        self._always_for: dict[str, Play] = {}

    def next(self, *plays: Play) -> None:
        """The fates of the next requests, one each, whatever their token."""
        self._next.extend(plays)

    def for_token(self, token: str, *plays: Play) -> None:
        """The fates of the next requests for one token."""
        self._for_token[token.lower()].extend(plays)

    def always_for(self, token: str, play: Play | None) -> None:
        """The fate of every request for one token; None: no more."""
        if play is None:
            self._always_for.pop(token.lower(), None)
        else:
            self._always_for[token.lower()] = play

    def _take_play(self, token: str) -> Play:
        token = token.lower()
        if self._for_token.get(token):
            return self._for_token[token].popleft()
        if self._next:
            return self._next.popleft()
        return self._always_for.get(token, self.always)
