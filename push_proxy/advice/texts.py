"""Sentences and steps of advice, read from ``advice.yaml`` or the operator's own file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ..core.vendors import VendorGroup, fallbacks
from ..errors import ConfigurationError
from .check import faults_of

FALLBACK = "en"
_OURS = "advice.yaml"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml reads it in a tenth of the time."""

Sentence = Mapping[str, str]
"""By language."""


@dataclass(frozen=True, slots=True)
class _Advice:
    text: Sentence
    steps: Mapping[str, Sequence[str]]
    """Names of steps, by group of vendors."""


@dataclass(frozen=True, slots=True)
class Texts:
    """All texts; what a language lacks is said in English."""

    verdicts: Mapping[str, Sentence]
    steps_by_name: Mapping[str, Sentence]
    causes: Mapping[str, _Advice]
    languages: tuple[str, ...]
    """Those that some text has."""

    def verdict(self, verdict: str, language: str) -> str:
        """What a verdict alone says; empty: nothing is to be done."""
        return _in(self.verdicts.get(verdict, {}), language)

    def sentence(self, cause: str, language: str, details: Mapping[str, str]) -> str:
        """Why the call ended as it did; empty for a cause that is not in the file."""
        advice = self.causes.get(cause)
        return "" if advice is None else _in(advice.text, language).format_map(details)

    def steps(
        self, cause: str, language: str, group: VendorGroup, details: Mapping[str, str]
    ) -> tuple[str, ...]:
        """What to do about it on a phone of this group, one after the other."""
        advice = self.causes.get(cause)
        if advice is None:
            return ()
        names = next(advice.steps[name] for name in fallbacks(group) if name in advice.steps)
        return tuple(_in(self.steps_by_name[name], language).format_map(details) for name in names)


def load_texts(file: Path | None) -> Texts:
    """The texts of this file; None: those that come with the service.

    Raises `errors.ConfigurationError` with one line per fault.
    """
    if file is None:
        text = (resources.files(__package__) / _OURS).read_text(encoding="utf-8")
        return _texts(text, _OURS)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} is no UTF-8 text") from None
    return _texts(text, str(file))


def _texts(text: str, name: str) -> Texts:
    try:
        content = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{name} is no YAML: {error}") from None
    if faults := list(faults_of(content)):
        raise ConfigurationError("\n".join(f"{name}: {fault}" for fault in faults))
    sentences = [
        *content["verdicts"].values(),
        *content["steps"].values(),
        *(entry["text"] for entry in content["causes"].values()),
    ]
    return Texts(
        verdicts=content["verdicts"],
        steps_by_name=content["steps"],
        causes={
            cause: _Advice(entry["text"], entry["steps"])
            for cause, entry in content["causes"].items()
        },
        languages=tuple(sorted({language for each in sentences for language in each})),
    )


def _in(sentence: Sentence, language: str) -> str:
    return sentence.get(language) or sentence.get(FALLBACK, "")
