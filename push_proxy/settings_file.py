"""Reading the configuration: file, environment, checks, and errors that name the key."""

import difflib
import os
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .errors import ConfigurationError
from .settings import Settings
from .settings_checks import contradictions, with_addresses, without_later
from .settings_types import Fault

FILE_VARIABLE = "PUSH_PROXY_CONFIG"
_PREFIX = "PUSH_PROXY_"
_TOP_LEVEL_VALUES = ("privacy",)


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """The configuration from the file at ``PUSH_PROXY_CONFIG`` and from the environment.

    The environment wins. Without a file every key has its default. Raises
    `errors.ConfigurationError` with one line per fault.
    """
    environment = os.environ if environment is None else environment
    path = environment.get(FILE_VARIABLE, "")
    raw = read_file(Path(path)) if path else {}
    origin: dict[str, str] = {}
    for variable, keys, value in _variables(environment):
        _set(raw, keys, value, variable)
        origin[".".join(keys)] = variable
    try:
        return check(raw)
    except _Faults as faults:
        where = f"configuration {path}" if path else f"configuration (no {FILE_VARIABLE} set)"
        lines = [f"  {key}{_told_by(key, origin)}: {text}" for key, text in faults.found]
        raise ConfigurationError("\n".join([f"{where} cannot be used:", *lines])) from None


def check(raw: Mapping[str, Any]) -> Settings:
    """Settings of a mapping. Raises `errors.ConfigurationError` with one line per fault."""
    cleaned, faults = without_later(raw)
    try:
        settings = Settings.model_validate(cleaned)
    except ValidationError as error:
        told = {key for key, _ in faults}
        found = (_fault(detail) for detail in error.errors(include_url=False))
        faults.extend(fault for fault in found if fault[0] not in told)
        raise _Faults(faults) from None
    faults.extend(contradictions(settings))
    if faults:
        raise _Faults(faults)
    return with_addresses(settings)


def read_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises `errors.ConfigurationError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"configuration {path} cannot be read: {error.strerror}. "
            f"Set {FILE_VARIABLE} to a readable file, or unset it to run with defaults."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"configuration {path} is no UTF-8 text") from None
    try:
        content = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigurationError(f"configuration {path} is no valid YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"configuration {path} must hold sections (sip:, http: …), not a "
            f"{type(content).__name__}"
        )
    return content


class _Faults(ConfigurationError):
    def __init__(self, found: list[Fault]) -> None:
        super().__init__("\n".join(f"{key}: {text}" for key, text in found))
        self.found = found


class _StrictLoader(yaml.SafeLoader):
    """As SafeLoader, but a key given twice is an error: one of the two would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the signature is PyYAML's
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is given twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


def _variables(environment: Mapping[str, str]) -> Iterator[tuple[str, list[str], Any]]:
    """Variables that are configuration keys.

    Only those with ``__`` (and the few keys outside any section): Kubernetes sets
    ``PUSH_PROXY_SERVICE_HOST`` and the like for a service of our name.
    """
    for variable, text in sorted(environment.items()):
        if not variable.startswith(_PREFIX):
            continue
        keys = variable.removeprefix(_PREFIX).lower().split("__")
        if len(keys) > 1 or keys[0] in _TOP_LEVEL_VALUES:
            yield variable, keys, _value(variable, text)


def _value(variable: str, text: str) -> Any:
    if text.lstrip()[:1] in {"[", "{"}:
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{variable} is no valid JSON or YAML: {error}") from None
    return None if text in {"", "null"} else text


def _set(raw: dict[str, Any], keys: list[str], value: Any, variable: str) -> None:
    place = raw
    for key in keys[:-1]:
        inner = place.get(key)
        if inner is None:
            inner = place[key] = {}
        if not isinstance(inner, dict):
            raise ConfigurationError(
                f"{variable}: {key} is no section; set the whole of it in one variable"
            )
        place = inner
    place[keys[-1]] = value


def _told_by(key: str, origin: Mapping[str, str]) -> str:
    for name, variable in origin.items():
        if key == name or key.startswith((f"{name}.", f"{name}[")):
            return f" (from {variable})"
    return ""


def _fault(detail: ErrorDetails) -> Fault:
    location = [part for part in detail["loc"] if part != "[key]"]
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f"{'.' if key else ''}{part}"
    if detail["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
        return key, f"unknown key; {hint}"
    if detail["type"] == "missing":
        return key, "is missing; give it a value"
    message = detail["msg"].removeprefix("Value error, ")
    return key, message[:1].lower() + message[1:]


def _known_keys(location: list[int | str]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in location:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is not None:
            model = _model_in(field.annotation) or model
    return sorted(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The section class inside an annotation such as ``tuple[X, ...]`` or ``Mapping[str, X]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(inner) for inner in getattr(annotation, "__args__", ()))
    return next((model for model in found if model is not None), None)
