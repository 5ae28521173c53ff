"""The state of the plugin instances of a rule: kept apart, copied at an instant, restored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from engine.state.codec import CODEC, StateCodec
from engine.state.errors import UnreadableState
from engine.state.values import StateCounters, StateValues

_MARK, _NUMBER = "scope:", "#"


class StateScope:
    """Values and counters of one instance; the two don't share their keys."""

    __slots__ = ("_codec", "counters", "values")

    def __init__(self, codec: StateCodec = CODEC) -> None:
        self._codec = codec
        self.values = StateValues(codec)
        self.counters = StateCounters()

    def __len__(self) -> int:
        return len(self.values) + len(self.counters)

    @property
    def changes(self) -> int:
        """A number that grows with each change."""
        return self.values.changes + self.counters.changes

    def delete(self, key: str) -> None:
        self.values.pop(key, None)
        self.counters.pop(key, None)

    def clear(self) -> None:
        self.values.clear()
        self.counters.clear()

    def copied(self) -> ScopeCopy:
        return ScopeCopy(self._codec, *self.values.copied(), self.counters.copied())

    def restore(self, data: bytes) -> None:
        """Go on from an encoded `ScopeCopy`.

        Raises:
            UnreadableState: it can't be read; nothing has changed.
        """
        values, counters = split(data)
        counts = self._codec.decode(counters)
        if not isinstance(counts, dict) or any(type(count) is not int for count in counts.values()):
            raise UnreadableState("the stored counters are damaged")
        self.values.restore(values)
        self.counters.restore(counts)


class ScopeCopy:
    """A scope at one instant, which later puts don't reach; may be encoded by another thread."""

    __slots__ = ("_codec", "_counters", "_encoded", "_values")

    def __init__(
        self,
        codec: StateCodec,
        values: dict[str, Any],
        encoded: dict[str, bytes],
        counters: dict[str, int],
    ) -> None:
        self._codec = codec
        self._values = values
        self._encoded = encoded
        self._counters = counters

    def encode(self) -> bytes:
        values = msgspec.Raw(self._codec.encode_items(self._values, self._encoded))
        counters = msgspec.Raw(self._codec.encode(self._counters))
        return msgspec.msgpack.encode([values, counters])


class RuleState:
    """All scopes of one rule by (operator, instance)."""

    def __init__(self, codec: StateCodec = CODEC) -> None:
        self._codec = codec
        self._scopes: dict[tuple[str, int], StateScope] = {}
        self._waiting: dict[tuple[str, int], bytes] = {}
        self._stored: dict[tuple[str, int], int] = {}
        self._base: int | None = None

    def scope(self, op_id: str, instance_id: int) -> StateScope:
        """Return the scope of an instance, what was restored for it or an empty one at first.

        Raises:
            UnreadableState: what was restored doesn't fit the code that is loaded now.
        """
        key = op_id, instance_id
        found = self._scopes.get(key)
        if found is None:
            found = StateScope(self._codec)
            if key in self._waiting:
                self._refill(key, found)
            self._scopes[key] = found
        return found

    @property
    def unclaimed(self) -> list[tuple[str, int]]:
        """Who had state in the restored checkpoint and hasn't asked for it; it is kept."""
        return sorted(self._waiting)

    def drop_unclaimed(self) -> None:
        """Forget restored state that nobody has asked for."""
        self._waiting.clear()

    def clear(self) -> None:
        """Forget everything, for a rule that is deleted."""
        self._scopes.clear()
        self._waiting.clear()
        self._stored.clear()
        self._base = None

    # -- checkpoints ---------------------------------------------------------------------------

    def snapshot(self) -> StateSnapshot:
        """Return the state of this instant; of scopes that the store has already, just that."""
        copies: dict[tuple[str, int], ScopeCopy | bytes | None] = {}
        changes: dict[tuple[str, int], int] = {}
        for key, scope in self._scopes.items():
            changes[key] = scope.changes
            if len(scope):
                is_stored = self._base is not None and self._stored.get(key) == scope.changes
                copies[key] = None if is_stored else scope.copied()
        for key, data in self._waiting.items():
            copies[key] = data if self._base is None else None
        return StateSnapshot(self, copies, changes, self._base)

    def restore(self, parts: Mapping[str, bytes], base: int) -> None:
        """Go on from the parts of checkpoint ``base``; parts that aren't scopes are passed over.

        Scopes that were handed out are refilled, or emptied, in place; others are read when they
        are asked for, when the classes of their values are loaded.

        Raises:
            UnreadableState: the state of a scope that was handed out can't be read.
        """
        self._waiting = {
            key: data for name, data in parts.items() if (key := scope_key(name)) is not None
        }
        self._stored = {}
        self._base = base
        for key, scope in self._scopes.items():
            scope.clear()
            if key in self._waiting:
                self._refill(key, scope)

    def store_anew(self) -> None:
        """Put everything into the next snapshot, whatever the store may have."""
        self._base = None

    def _refill(self, key: tuple[str, int], scope: StateScope) -> None:
        try:
            scope.restore(self._waiting[key])
        except UnreadableState as error:
            what = f"{key[0]}/{key[1]}: {error.message}"
            raise UnreadableState(what, hint=error.hint) from error
        del self._waiting[key]
        self._stored[key] = scope.changes

    def _saved(self, changes: dict[tuple[str, int], int], number: int) -> None:
        # one assignment each: the thread that writes checkpoints calls this
        self._stored = self._stored | changes
        self._base = number


class StateSnapshot:
    """The state of a rule at one instant; all but its making may happen in another thread."""

    def __init__(
        self,
        state: RuleState,
        copies: dict[tuple[str, int], ScopeCopy | bytes | None],
        changes: dict[tuple[str, int], int],
        base: int | None,
    ) -> None:
        self._state = state
        self._copies = copies
        self._changes = changes
        self.base = base
        """The checkpoint that unchanged parts are in, None if there is none."""

    def parts(self) -> dict[str, bytes | None]:
        """Return the encoded scopes for a `CheckpointStore`; None is one that hasn't changed."""
        return {
            part_name(*key): copy.encode() if isinstance(copy, ScopeCopy) else copy
            for key, copy in self._copies.items()
        }

    def saved(self, number: int) -> None:
        """Note that checkpoint ``number`` has this, so that later ones needn't repeat it."""
        self._state._saved(self._changes, number)

    def missing(self) -> None:
        """Note that the store doesn't have what it was thought to have."""
        self._state.store_anew()


def part_name(op_id: str, instance_id: int) -> str:
    """Return the name of a scope among the parts of a checkpoint."""
    return f"{_MARK}{op_id}{_NUMBER}{instance_id}"


def scope_key(name: str) -> tuple[str, int] | None:
    """Return operator and instance of a part's name, None if it isn't that of a scope."""
    op_id, found, number = name.removeprefix(_MARK).rpartition(_NUMBER)
    if not name.startswith(_MARK) or not found or not number.isdecimal():
        return None
    return op_id, int(number)


def split(data: bytes) -> tuple[bytes, bytes]:
    """Return the encoded values and the encoded counters of an encoded `ScopeCopy`.

    Raises:
        UnreadableState: it is damaged.
    """
    try:
        values, counters = _PAIR.decode(data)
    except msgspec.MsgspecError as error:
        raise UnreadableState(f"the stored state is damaged: {error}") from error
    return bytes(values), bytes(counters)


_PAIR = msgspec.msgpack.Decoder(tuple[msgspec.Raw, msgspec.Raw])
