"""The particulars of one call that sentences of advice may name in braces."""

from collections.abc import Mapping

from .advice import Case

_UNKNOWN = "?"
NAMES = frozenset(
    {"count", "device", "others", "reason", "said", "seconds", "source", "status", "vendor"}
)
"""``{count}`` wakes failed in a row, ``{device}``, ``{others}`` contacts at the PBX, ``{reason}``
of the provider or token, ``{said}`` by the app, ``{seconds}`` the push or wake took, ``{source}``
of the installation, ``{status}`` that the phone answered, ``{vendor}``."""


def details_of(case: Case) -> Mapping[str, str]:
    """A text for each of `NAMES`; a question mark for what is not known."""
    known, course = case.evidence, case.course
    took_s = case.wake_took_s if case.push_took_s is None else case.push_took_s
    found = {
        "count": str(known.wakes.failed_in_a_row + 1),
        "device": str(known.device or ""),
        "others": str(known.other_contacts),
        "reason": course.refusal_reason or known.token_reason,
        "said": known.words.detail or str(known.words.reason or ""),
        "seconds": "" if took_s is None else f"{took_s:.0f}",
        "source": known.install_source or "",
        "status": course.refused_with,
        "vendor": known.vendor or "",
    }
    return {name: found[name] or _UNKNOWN for name in NAMES}
