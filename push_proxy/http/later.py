"""Values that the contract names and this version lacks: refused, never ignored."""

from collections.abc import Mapping

from ..settings_types import NOT_BUILT

VALUES: Mapping[str, frozenset[str]] = {
    "topology": frozenset({"transparent"}),
    "ringing": frozenset({"182", "announcement"}),
}


def refusal(kind: str, field: str, value: object) -> str | None:
    """The refusal of something not built yet, or None if it is simply wrong.

    ``kind`` is pydantic's error type.
    """
    if kind == "literal_error" and isinstance(value, str) and value in VALUES.get(field, ()):
        return f"{value}: {NOT_BUILT}"
    return None
