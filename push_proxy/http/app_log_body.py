"""An app's log as it comes and as it is kept: text, bounded however well it was packed."""

import zlib

from ..errors import InvalidInput

MAX_BYTES = 262_144
"""On the wire."""
MAX_TEXT_BYTES = 1_048_576
"""Unpacked: what a bomb comes to before it is refused."""
_GZIP = 31
_MEMBERS = 100
_TRANSPORTS = frozenset({"gzip", "x-gzip"})
_PACKED_TYPES = frozenset({"application/gzip", "application/x-gzip"})


def is_packed(content_type: str, content_encoding: str) -> bool | None:
    """Whether a body with these headers is gzip, else text; None: it is neither."""
    kind = content_type.partition(";")[0].strip().lower()
    encodings = [part.strip().lower() for part in content_encoding.split(",") if part.strip()]
    encodings = [part for part in encodings if part != "identity"]
    if kind in _PACKED_TYPES and not encodings:
        return True
    if kind != "text/plain" or len(encodings) > 1 or not _TRANSPORTS.issuperset(encodings):
        return None
    return bool(encodings)


def kept(body: bytes, *, packed: bool) -> tuple[bytes, int]:
    """How the log is kept, and how long its text is (bytes).

    What is no UTF-8 in it is replaced: a log that was cut in the middle is still worth reading.
    Raises `errors.InvalidInput`.
    """
    raw = _unpacked(body) if packed else body
    text = raw.decode("utf-8", "replace").encode()
    if not text.strip():
        raise InvalidInput("the log is empty: send its text as the body", field="body")
    if len(text) > MAX_TEXT_BYTES:
        raise _too_long()
    return zlib.compress(text), len(text)


def text_of(content: bytes) -> bytes:
    """The text of what was kept."""
    return zlib.decompress(content)


def _unpacked(body: bytes) -> bytes:
    found = bytearray()
    rest = body
    # Logs that were packed one by one and put together are one gzip file, too.
    for _ in range(_MEMBERS):
        member = zlib.decompressobj(_GZIP)
        try:
            found += member.decompress(rest, MAX_TEXT_BYTES + 1 - len(found))
        except zlib.error as error:
            raise InvalidInput(
                f"the body is said to be gzip and is not ({error})", field="body"
            ) from None
        if len(found) > MAX_TEXT_BYTES or member.unconsumed_tail:
            raise _too_long()
        if not member.eof:
            raise InvalidInput("the gzip body ends too early: send all of it", field="body")
        rest = member.unused_data
        if not rest:
            return bytes(found)
    raise InvalidInput(
        f"the gzip body has more than {_MEMBERS} parts: pack it as one", field="body"
    )


def _too_long() -> InvalidInput:
    return InvalidInput(
        f"the log is longer than {MAX_TEXT_BYTES} bytes when unpacked: send its newest part",
        field="body",
    )
