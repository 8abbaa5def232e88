"""Stored values as JSON: dataclasses to bytes and back, secrets sealed.

Fields that a reader does not know are ignored and missing ones take their default, so that
nodes of neighbouring versions can share a store. ``_v`` changes only when a reader of the
old form would misunderstand.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from types import UnionType
from typing import Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from ..core.kept_message import KeptMessage
from ..core.model import Account, Binding, Device
from ..core.queued_event import DeadLetter, QueuedEvent
from ..errors import ConfigurationError, PushProxyError
from .secrets import KeyRing

_VERSION = 1
_T = TypeVar("_T")
_Convert = Callable[[Any], Any]

# A Contact is sealed because RFC 8599 apps carry their push token in it (pn-prid).
SEALED: dict[type, tuple[tuple[str, ...], ...]] = {
    Account: (("credentials",), ("app_auth", "credentials")),
    Device: (("token",), ("alert_token",)),
    Binding: (("contact",),),
    KeptMessage: (("text",),),
    QueuedEvent: (("notice",),),
    DeadLetter: (("event", "notice"),),
}

_HEAD = f'{{"_v":{_VERSION},'.encode()
_plain = msgspec.json.Encoder()


class UnreadableValue(PushProxyError):
    """A stored value is not what this version writes."""


@dataclass(frozen=True, slots=True)
class Codec:
    """Encodes for the store; ``place`` names where a value lives and binds its secrets to it."""

    ring: KeyRing

    def encode(self, value: Any, place: str) -> bytes:
        """A dataclass as bytes."""
        converters = _converters(type(value))
        if converters.plain:
            try:
                return _HEAD + _plain.encode(value)[1:]
            except UnicodeEncodeError:
                pass  # text that is no Unicode: JSON can escape it
        plain = converters.dump(value)
        for path in SEALED.get(type(value), ()):
            holder, name = _reach(plain, path)
            if holder is not None and holder.get(name) is not None:
                text = json.dumps(holder[name], separators=(",", ":"))
                holder[name] = self.ring.seal(text.encode(), _aad(place, path))
        plain["_v"] = _VERSION
        return json.dumps(plain, separators=(",", ":")).encode()

    def decode(self, kind: type[_T], data: bytes, place: str) -> _T:
        """The dataclass.

        Raises `UnreadableValue`, or `errors.ConfigurationError` when a key is wrong.
        """
        try:
            plain = json.loads(data)
            if plain.get("_v", _VERSION) > _VERSION:
                raise UnreadableValue(
                    f"{place}: written by a newer version of push-proxy; upgrade this node"
                )
            for path in SEALED.get(kind, ()):
                holder, name = _reach(plain, path)
                if holder is not None and holder.get(name) is not None:
                    holder[name] = json.loads(self.ring.unseal(holder[name], _aad(place, path)))
            result: _T = _converters(kind).load(plain)
        except (ConfigurationError, UnreadableValue):
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnreadableValue(f"{place}: not a stored {kind.__name__}: {error!r}") from error
        return result


def _aad(place: str, path: tuple[str, ...]) -> str:
    return f"{place}|{'.'.join(path)}"


def _reach(plain: dict[str, Any], path: tuple[str, ...]) -> tuple[dict[str, Any] | None, str]:
    holder: dict[str, Any] | None = plain
    for name in path[:-1]:
        holder = holder.get(name) if holder is not None else None
    return holder, path[-1]


@dataclass(frozen=True, slots=True)
class _Converters:
    dump: _Convert
    load: _Convert
    plain: bool
    """Nothing in it is sealed or has a form of its own: a general encoder, much faster, does."""


def _same(value: Any) -> Any:
    return value


_known: dict[type, _Converters] = {}


def _converters(kind: type) -> _Converters:
    """Worked out once per class: encoding is in the call path."""
    found = _known.get(kind)
    if found is None:
        found = _known[kind] = _plan(kind)
    return found


def _plan(kind: type) -> _Converters:
    hints = get_type_hints(kind)
    plan = [(f.name, *_of(hints[f.name]), _required(f)) for f in fields(kind)]
    names = [name for name, *_ in plan]
    dumpers = [(name, dump) for name, dump, _, _ in plan if dump is not _same]

    def dump(value: Any) -> dict[str, Any]:
        plain = {name: getattr(value, name) for name in names}
        for name, convert in dumpers:
            plain[name] = convert(plain[name])
        return plain

    def load(plain: Mapping[str, Any]) -> Any:
        known = {
            name: convert(plain[name])
            for name, _, convert, required in plan
            if required or name in plain
        }
        return kind(**known)

    plain = kind not in SEALED and all(_is_plain(hints[name]) for name in names)
    return _Converters(dump, load, plain)


def _is_plain(hint: Any) -> bool:
    if isinstance(hint, NewType):
        return _is_plain(hint.__supertype__)
    if args := get_args(hint):
        return get_origin(hint) is not frozenset and all(map(_is_plain, args))
    if is_dataclass(hint):
        assert isinstance(hint, type)  # noqa: S101 - for the type checker: never an instance
        return _converters(hint).plain
    return hint in {str, bool, int, float, type(None), Ellipsis} or (
        isinstance(hint, type) and issubclass(hint, StrEnum)
    )


def _required(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _of(hint: Any) -> tuple[_Convert, _Convert]:
    """How a field of this type goes into JSON and comes out."""
    if isinstance(hint, NewType):
        return _of(hint.__supertype__)
    origin, args = get_origin(hint), get_args(hint)
    if origin in {Union, UnionType}:
        (inner,) = (arg for arg in args if arg is not type(None))
        dump, load = _of(inner)
        return _unless_none(dump), _unless_none(load)
    if origin is tuple:
        dump, load = _of(args[0])
        return _each(dump, list), _each(load, tuple)
    if origin is frozenset:
        return sorted, frozenset
    if origin is not None and issubclass(origin, Mapping):
        return _pairs(_same, _of(args[1])[0]), _pairs(_of(args[0])[1], _of(args[1])[1])
    if hint is bytes:
        # SIP is nearly all ASCII: readable, and lossless for every byte.
        return _bytes_out, _bytes_in
    if is_dataclass(hint):
        assert isinstance(hint, type)  # noqa: S101 - for the type checker: never an instance
        inner_converters = _converters(hint)
        return inner_converters.dump, inner_converters.load
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _same, hint
    return _same, _same


def _unless_none(convert: _Convert) -> _Convert:
    if convert is _same:
        return _same
    return lambda value: None if value is None else convert(value)


def _each(convert: _Convert, container: _Convert) -> _Convert:
    if convert is _same:
        return container
    return lambda values: container([convert(value) for value in values])


def _pairs(key: _Convert, value: _Convert) -> _Convert:
    return lambda mapping: {key(k): value(v) for k, v in mapping.items()}


def _bytes_out(value: bytes) -> str:
    return value.decode("latin-1")


def _bytes_in(value: str) -> bytes:
    return value.encode("latin-1")
