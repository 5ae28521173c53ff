"""State values to bytes and back: msgpack, with extensions for what msgpack can't tell apart.

Values come back equal and of the same types: tuples as tuples and lists as lists, sets, dates,
decimals, integers of any size, dicts with keys of any kind. Instances of dataclasses, msgspec
Structs and enumerations are stored by the name of their class; other types need a codec declared
with `StateCodec.register`. Nothing that is read imports a module or names code to run, other than
what loaded classes do to be made.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.msgpack import Ext

from engine.state.classes import ClassNames, is_record, members_of, record_of
from engine.state.errors import UnreadableState, Unstorable
from engine.state.frozen import Frozen
from engine.state.kinds import KINDS, Kind

T = TypeVar("T")

ATOMS = frozenset({NoneType, bool, int, float, str, bytes})
"""Types whose instances never change and nearly always are msgpack as they are."""
DEPTH = 100
"""How deep values may be nested; a fixed limit, so that what was put can always be read."""

_TOO_DEEP = f"it is nested deeper than {DEPTH} levels or holds itself"
_SURE = frozenset({NoneType, bool, float, bytes})
_ARRAY_32 = b"\xdd"  # msgpack: a list, whose length follows in 4 bytes
_LOWEST, _HIGHEST = -(1 << 63), (1 << 64) - 1  # the integers of msgpack
_TUPLE, _SET, _FROZENSET, _PAIRS, _RECORD, _DECLARED = range(20, 26)
_SEQUENCES: dict[type[Any], int] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}
_MAKERS: dict[int, Callable[[Any], Any]] = {_TUPLE: tuple, _SET: set, _FROZENSET: frozenset}
_KIND_OF: dict[type[Any], Kind] = {kind.type: kind for kind in KINDS}
_KIND_BY_CODE: dict[int, Kind] = {kind.code: kind for kind in KINDS}


class Declared(NamedTuple):
    """A codec for one type: ``pack`` gives a value of known types, ``unpack`` takes it back."""

    name: str
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]


class StandIn(NamedTuple):
    """What a value of some class is for who only looks: its name and its members."""

    name: str
    members: Any

    def __repr__(self) -> str:
        short = self.name.rpartition(":")[2]
        if isinstance(self.members, dict):
            inner = ", ".join(f"{name}={value!r}" for name, value in self.members.items())
            return f"{short}({inner})"
        return f"{short}.{self.members}" if ":" in self.name else f"{short}({self.members!r})"


class StateCodec:
    """Encodes and decodes; what is declared holds for one codec."""

    def __init__(self) -> None:
        self.classes = ClassNames()
        self._declared: dict[type[Any], Declared] = {}
        self._by_name: dict[str, Declared] = {}
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(ext_hook=self._read).decode
        self._look = msgspec.msgpack.Decoder(ext_hook=self._show).decode
        self._items = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode
        for type_, name, pack, unpack in _COMMON:
            self.register(type_, name, pack, unpack)

    def register(
        self, type_: type[T], name: str, pack: Callable[[T], Any], unpack: Callable[[Any], T]
    ) -> None:
        """Declare how instances of exactly ``type_`` are stored.

        ``name`` stands for the type in stored state and must stay the same. ``pack`` returns
        anything that can be stored, ``unpack`` makes the instance of it. Declaring again replaces.

        Raises:
            Unstorable: another type has that name.
        """
        for other, declared in self._declared.items():
            if declared.name == name and other.__qualname__ != type_.__qualname__:
                raise Unstorable(f"the state codec {name!r} is declared for {other.__name__}")
        self._declared[type_] = self._by_name[name] = Declared(name, pack, unpack)

    # -- writing -------------------------------------------------------------------------------

    def encode(self, value: Any) -> bytes:
        """Return a value as bytes.

        Raises:
            Unstorable: it holds something that can't be stored; the message tells where.
        """
        try:
            # what most plugins put, small plain dicts and lists, takes no further calls
            if type(value) is dict:
                for key, item in value.items():
                    if type(item) not in ATOMS or type(key) is not str:
                        return self._encode(self._pack(value, ATOMS, 0))
                return self._encode(value)
            if type(value) is list:
                for item in value:
                    if type(item) not in ATOMS:
                        return self._encode(self._pack(value, ATOMS, 0))
                return self._encode(value)
            return self._encode(self._pack(value, ATOMS, 0))
        except (OverflowError, UnicodeEncodeError):
            pass  # an integer or a text that msgpack has no place for: look at each of them
        except (ValueError, RecursionError) as error:
            raise self._refusal(value, error) from None
        try:
            return self._encode(self._pack(value, _SURE, 0))
        except (ValueError, RecursionError) as error:
            raise self._refusal(value, error) from None

    def encode_items(self, values: Mapping[str, Any], encoded: Mapping[str, bytes]) -> bytes:
        """Return a dict of atoms (``values``) and of values that are encoded already.

        A key of both is that of ``encoded``; keys must be valid text.
        """
        raw = msgspec.Raw
        items = {**values, **{key: raw(data) for key, data in encoded.items()}}
        try:
            return self._encode(items)
        except (OverflowError, UnicodeEncodeError):
            return self._encode(
                {
                    key: item if type(item) is raw else raw(self.encode(item))
                    for key, item in items.items()
                }
            )

    def _pack(self, value: Any, atoms: frozenset[type[Any]], depth: int) -> Any:
        """Return a value for msgpack: the same object where nothing in it needs an extension."""
        cls = type(value)
        if cls in atoms:
            return value
        if depth >= DEPTH:
            raise ValueError(_TOO_DEEP)
        depth += 1
        if cls is dict:
            return self._pack_dict(value, atoms, depth)
        if cls is list:
            return self._pack_list(value, atoms, depth)
        if cls is Frozen:
            return self._pack_frozen(value, atoms, depth)
        if (code := _SEQUENCES.get(cls)) is not None:
            return Ext(code, self._encode(self._pack_list(list(value), atoms, depth)))
        if (kind := _KIND_OF.get(cls)) is not None:
            return _pack_kind(kind, value)
        return self._pack_object(value, atoms, depth)

    def _pack_dict(
        self, value: dict[Any, Any], atoms: frozenset[type[Any]], depth: int
    ) -> dict[Any, Any] | Ext:
        is_plain = True
        for key, item in value.items():
            if type(key) is not str or str not in atoms:
                packed = [self._pack(each, atoms, depth) for pair in value.items() for each in pair]
                return Ext(_PAIRS, self._encode(packed))
            if type(item) not in atoms:
                is_plain = False
        if is_plain:
            return value
        return {key: self._pack(item, atoms, depth) for key, item in value.items()}

    def _pack_list(self, value: list[Any], atoms: frozenset[type[Any]], depth: int) -> list[Any]:
        for item in value:
            if type(item) not in atoms:
                return [self._pack(each, atoms, depth) for each in value]
        return value

    def _pack_frozen(self, value: Frozen, atoms: frozenset[type[Any]], depth: int) -> msgspec.Raw:
        """Encode each value at once, so that those of a long list are never there all together.

        Many new objects at a time would make the garbage collector look at all old ones, too.
        """
        encode, pack = self._encode, self._pack
        parts = [encode(pack(item, atoms, depth)) for item in value]
        return msgspec.Raw(b"".join([_ARRAY_32, len(parts).to_bytes(4, "big"), *parts]))

    def _pack_object(self, value: Any, atoms: frozenset[type[Any]], depth: int) -> Ext:
        cls = type(value)
        declared = self._declared.get(cls)
        if declared is not None:
            code, name, members = _DECLARED, declared.name, _packed(declared, value)
        elif is_record(cls):
            code, name, members = _RECORD, self.classes.name_of(cls), members_of(value)
        else:
            raise ValueError(_why_not(cls))
        return Ext(code, self._encode([name, self._pack(members, atoms, depth)]))

    def _refusal(self, value: Any, error: Exception) -> Unstorable:
        steps, culprit = "", value
        is_deep = isinstance(error, RecursionError) or str(error) == _TOO_DEEP
        while not is_deep and (inner := self._failing_member(culprit)) is not None:
            step, culprit = inner
            steps += step
        where = f" (at {steps.removeprefix('.')})" if steps else ""
        what = _TOO_DEEP if is_deep else str(error)
        return Unstorable(
            f"the value can't be stored in the state{where}: {what}",
            hint="store plain data (numbers, text, bytes, lists, dicts, dates, dataclasses …) "
            "or declare a state codec for the type",
        )

    def _failing_member(self, value: Any) -> tuple[str, Any] | None:
        for step, member in _members(value):
            try:
                self._pack(member, _SURE, 1)
            except (ValueError, RecursionError):
                return step, member
        return None

    # -- reading -------------------------------------------------------------------------------

    def decode(self, data: bytes) -> Any:
        """Return the value that was encoded.

        Raises:
            UnreadableState: the bytes are damaged, or need a class or codec that isn't there.
        """
        return _guarded(self._decode, data)

    def decode_items(self, data: bytes) -> dict[str, bytes]:
        """Return what `encode_items` was given, each value still encoded.

        Raises:
            UnreadableState: the bytes are damaged.
        """
        return {key: bytes(raw) for key, raw in _guarded(self._items, data).items()}

    def inspect(self, data: bytes) -> Any:
        """Return what was encoded for showing: classes and declared types become `StandIn`.

        Raises:
            UnreadableState: the bytes are damaged.
        """
        return _guarded(self._look, data)

    def _read(self, code: int, data: memoryview) -> Any:
        if code == _RECORD:
            name, members = self._decode(data)
            return record_of(self.classes.find(name), members)
        if code == _DECLARED:
            name, members = self._decode(data)
            declared = self._by_name.get(name)
            if declared is None:
                raise UnreadableState(
                    f"the state holds a {name}, for which no state codec is declared",
                    hint="declare it in the plugin that stores it",
                )
            return declared.unpack(members)
        return _value_of(code, data, self._decode)

    def _show(self, code: int, data: memoryview) -> Any:
        if code in (_RECORD, _DECLARED):
            return StandIn(*self._look(data))
        return _value_of(code, data, self._look)


def _value_of(code: int, data: memoryview, decode: Callable[[memoryview], Any]) -> Any:
    if (kind := _KIND_BY_CODE.get(code)) is not None:
        return kind.unpack(bytes(data))
    if (make := _MAKERS.get(code)) is not None:
        return make(decode(data))
    if code == _PAIRS:
        flat = decode(data)
        return dict(zip(flat[::2], flat[1::2], strict=True))
    raise UnreadableState(
        f"the stored state has values of an unknown kind ({code})",
        hint="it is damaged, or was written by a newer version",
    )


def _guarded(decode: Callable[[bytes], T], data: bytes) -> T:
    try:
        return decode(data)
    except UnreadableState:
        raise
    except Exception as error:  # damaged bytes can say anything
        what = str(error) or type(error).__name__
        raise UnreadableState(f"the stored state is damaged: {what}") from error


def _pack_kind(kind: Kind, value: Any) -> Any:
    if kind.type is int and _LOWEST <= value <= _HIGHEST:
        return value
    if kind.type is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            return Ext(kind.code, kind.pack(value))
        return value
    return Ext(kind.code, kind.pack(value))


def _packed(declared: Declared, value: Any) -> Any:
    try:
        return declared.pack(value)
    except Exception as error:  # somebody else's code
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"the state codec {declared.name!r} failed: {what}") from error


def _why_not(cls: type[Any]) -> str:
    for plain in (dict, list, tuple, set, frozenset, str, bytes, int, float):
        if issubclass(cls, plain):
            return f"{cls.__name__} is a special {plain.__name__}; put {plain.__name__}(value)"
    return f"there is no way to store a {cls.__name__}"


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the members of a container with the text of the step to each."""
    cls = type(value)
    if cls is dict:
        for key, item in value.items():
            yield f".{key}" if isinstance(key, str) else f"[{key!r}]", item
            yield f"[key {key!r}]", key
    elif cls is list or cls is Frozen or cls in _SEQUENCES:
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif cls not in ATOMS and is_record(cls) and isinstance(members := members_of(value), dict):
        yield from ((f".{name}", item) for name, item in members.items())


_COMMON: tuple[tuple[type[Any], str, Callable[[Any], Any], Callable[[Any], Any]], ...] = (
    (deque, "deque", lambda d: [list(d), d.maxlen], lambda v: deque(v[0], v[1])),
    (Counter, "Counter", dict, Counter),
    (OrderedDict, "OrderedDict", lambda d: list(map(list, d.items())), OrderedDict),
    (complex, "complex", lambda c: [c.real, c.imag], lambda v: complex(*v)),
    (msgspec.UnsetType, "UNSET", lambda _: None, lambda _: msgspec.UNSET),
)

CODEC = StateCodec()
"""The codec of all plugins' state; plugin modules declare theirs in it when they are imported."""
