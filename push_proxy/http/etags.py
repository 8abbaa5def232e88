"""ETag, If-Match and If-None-Match (RFC 9110 §13.1) of things that have a version."""

from typing import Annotated, Protocol

from fastapi import Header

from ..errors import PreconditionFailed

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=1024,
        description="Change only this version (an ETag got before), or `*`: only if it exists.",
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        pattern=r"^\*$",
        description="`*`: create only, never replace.",
    ),
]


class Versioned(Protocol):
    """An account or a device."""

    @property
    def version(self) -> int:
        """Grows with each change."""

    @property
    def created_at(self) -> float:
        """Tells it from an earlier one of the same name."""


def etag(thing: Versioned) -> str:
    """The entity tag of this version."""
    return f'"{thing.version}-{int(thing.created_at * 1000):x}"'


def check(stored: Versioned | None, if_match: str | None, if_none_match: str | None) -> None:
    """Raise `errors.PreconditionFailed` when the headers do not allow the change."""
    if if_none_match is not None and stored is not None:
        raise PreconditionFailed("it exists already, and If-None-Match: * allows creation only")
    if if_match is None:
        return
    if stored is None:
        raise PreconditionFailed("it does not exist, and If-Match asks for an existing one")
    wanted = {item.strip() for item in if_match.split(",")}
    if "*" not in wanted and etag(stored) not in wanted:
        raise PreconditionFailed(
            f"it has changed since: its ETag is {etag(stored)}; GET it and decide again"
        )
