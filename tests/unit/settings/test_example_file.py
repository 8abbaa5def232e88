"""deploy/push-proxy.example.yaml is the configuration's documentation: it must be right."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from push_proxy.settings import Settings
from push_proxy.settings_checks import without_later
from push_proxy.settings_file import _model_in

EXAMPLE = Path(__file__).parents[3] / "deploy" / "push-proxy.example.yaml"


def uncommented() -> dict[str, Any]:
    content = yaml.safe_load(EXAMPLE.read_text().replace("#: ", ""))
    assert isinstance(content, dict)
    return content


def documented(value: Any, place: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            path = f"{place}.{name}".lstrip(".")
            path = path.replace("pbxes.office", "pbxes.*")
            yield path
            yield from documented(inner, path)
    elif isinstance(value, list):
        for inner in value:
            yield from documented(inner, place)


def in_model(model: type[BaseModel], place: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        path = f"{place}.{name}".lstrip(".")
        yield path
        if (inner := _model_in(field.annotation)) is not None:
            if name == "pbxes":
                path += ".*"
                yield path
            yield from in_model(inner, path)


def test_every_key_is_documented_and_every_documented_key_exists() -> None:
    """The keys of the file, examples included, are those of the model."""
    assert set(documented(uncommented())) == set(in_model(Settings))


def test_the_examples_are_valid() -> None:
    """With its examples switched on the file is a configuration."""
    raw, faults = without_later(uncommented())
    assert faults == []
    Settings.model_validate(raw)


def test_the_values_shown_are_the_defaults() -> None:
    """The file as it stands configures nothing."""
    raw, _ = without_later(yaml.safe_load(EXAMPLE.read_text()))
    assert Settings.model_validate(raw) == Settings()


def test_every_key_has_words() -> None:
    """Each key's line is preceded by a comment for it or for the one beside it."""
    lines = EXAMPLE.read_text().splitlines()
    keys = [n for n, line in enumerate(lines) if re.match(r"^  (#: )?\w+:", line)]
    for number in keys:
        before = lines[number - 1].strip()
        assert before.startswith("#") or number - 1 in keys, lines[number]
