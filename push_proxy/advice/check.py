"""Whether a file of advice is complete: each fault is told with its place in the file."""

from collections.abc import Iterator, Mapping
from string import Formatter
from typing import Any

from ..core.advice_details import NAMES
from ..core.causes import Cause
from ..core.model import Verdict
from ..core.vendors import VendorGroup

LANGUAGES = ("en", "ru", "it", "fr")
"""Those that every text must have; a file may have more."""
_SECTIONS = ("verdicts", "steps", "causes")


def faults_of(content: Any) -> Iterator[str]:
    """What is wrong with a file's content; nothing: it can be used."""
    if not isinstance(content, Mapping):
        yield "is no mapping of verdicts, steps and causes"
        return
    for name in content:
        if name not in _SECTIONS:
            yield f"{name}: unknown section; there are {', '.join(_SECTIONS)}"
    verdicts, steps, causes = (content.get(name) for name in _SECTIONS)
    yield from _texts(verdicts, "verdicts", known={verdict.value for verdict in Verdict})
    yield from _texts(steps, "steps", known=None)
    if not isinstance(causes, Mapping):
        yield "causes: is missing"
        return
    for cause in Cause:
        if cause not in causes:
            yield f"causes.{cause}: is missing"
    for name, entry in causes.items():
        if name not in set(Cause):
            yield f"causes.{name}: unknown cause"
        else:
            yield from _cause(f"causes.{name}", entry, steps if isinstance(steps, Mapping) else {})


def _cause(place: str, entry: Any, steps: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(entry, Mapping) or set(entry) != {"text", "steps"}:
        yield f"{place}: needs exactly text and steps"
        return
    yield from _text(entry["text"], f"{place}.text")
    by_group = entry["steps"]
    if not isinstance(by_group, Mapping) or VendorGroup.ANY not in by_group:
        yield f"{place}.steps: needs a list for any, which counts where no vendor has its own"
        return
    for group, names in by_group.items():
        if group not in set(VendorGroup):
            yield f"{place}.steps.{group}: unknown; there are {', '.join(VendorGroup)}"
        elif not isinstance(names, list):
            yield f"{place}.steps.{group}: must be a list of names from steps"
        else:
            for name in names:
                if name not in steps:
                    yield f"{place}.steps.{group}: there is no {name!r} in steps"


def _texts(section: Any, place: str, *, known: set[str] | None) -> Iterator[str]:
    if not isinstance(section, Mapping):
        yield f"{place}: is missing"
        return
    for name, entry in section.items():
        if known is not None and name not in known:
            yield f"{place}.{name}: unknown; there are {', '.join(sorted(known))}"
        else:
            yield from _text(entry, f"{place}.{name}")


def _text(entry: Any, place: str) -> Iterator[str]:
    if not isinstance(entry, Mapping):
        yield f"{place}: must have a sentence for each of {', '.join(LANGUAGES)}"
        return
    for language in LANGUAGES:
        if language not in entry:
            yield f"{place}.{language}: is missing"
    for language, sentence in entry.items():
        if not isinstance(sentence, str) or not sentence.strip():
            yield f"{place}.{language}: must be a sentence"
        else:
            yield from (f"{place}.{language}: {fault}" for fault in _braces(sentence))


def _braces(sentence: str) -> Iterator[str]:
    try:
        fields = [(name, spec, conversion) for _, name, spec, conversion in _parsed(sentence)]
    except ValueError as error:
        yield f"{error} (write {{{{ and }}}} for braces themselves)"
        return
    for name, spec, conversion in fields:
        if name is not None and (name not in NAMES or spec or conversion):
            names = ", ".join(f"{{{known}}}" for known in sorted(NAMES))
            yield f"{{{name}}} is not known; there are {names}"


def _parsed(sentence: str) -> Iterator[tuple[str, str | None, str | None, str | None]]:
    return iter(Formatter().parse(sentence))
