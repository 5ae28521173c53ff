"""What one plugin instance remembers: values and counters, checked when they are put.

What a checkpoint holds is what was put. A value that its plugin changes afterwards, without
putting it again, is seen by the plugin but not by checkpoints, so they can't be half changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from engine.state.codec import ATOMS, CODEC, StateCodec
from engine.state.errors import UnreadableState, Unstorable


class StateValues(MutableMapping[str, Any]):
    """Values by key. Each is checked, and encoded unless it can't change, when it is put."""

    __slots__ = ("_codec", "_encode", "_encoded", "_live", "changes", "get")

    get: Callable[..., Any]  # the dict's own: a get costs no Python frame

    def __init__(self, codec: StateCodec = CODEC) -> None:
        self._codec = codec
        self._encode = codec.encode
        self._live: dict[str, Any] = {}
        self._encoded: dict[str, bytes] = {}
        self.changes = 0
        """Grows with each put and each deletion."""
        self.get = self._live.get

    def __getitem__(self, key: str) -> Any:
        return self._live[key]

    def __setitem__(self, key: str, value: Any) -> None:
        """Put a value.

        Raises:
            Unstorable: it, or its key, can't be stored; the value before stays.
        """
        if type(key) is not str or not key.isascii():
            _check(key)
        if type(value) in ATOMS:
            if self._encoded:
                self._encoded.pop(key, None)
        else:
            try:
                self._encoded[key] = self._encode(value)
            except Unstorable as error:
                raise Unstorable(f"state {key!r}: {error.message}", hint=error.hint) from error
        self._live[key] = value
        self.changes += 1

    def __delitem__(self, key: str) -> None:
        del self._live[key]
        self._encoded.pop(key, None)
        self.changes += 1

    def __iter__(self) -> Iterator[str]:
        return iter(self._live)

    def __len__(self) -> int:
        return len(self._live)

    def clear(self) -> None:
        self._live.clear()
        self._encoded.clear()
        self.changes += 1

    def copied(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Return copies for `StateCodec.encode_items`, at the cost of copying two dicts."""
        return self._live.copy(), self._encoded.copy()

    def restore(self, data: bytes) -> None:
        """Replace all values by encoded ones.

        Raises:
            UnreadableState: one can't be read; nothing has changed.
        """
        items = self._codec.decode_items(data)
        live: dict[str, Any] = {}
        for key, raw in items.items():
            try:
                live[key] = self._codec.decode(raw)
            except UnreadableState as error:
                what = f"state {key!r}: {error.message}"
                raise UnreadableState(what, hint=error.hint) from error
        self.clear()
        self._live.update(live)
        self._encoded.update(
            (key, raw) for key, raw in items.items() if type(live[key]) not in ATOMS
        )


class StateCounters(MutableMapping[str, int]):
    """Whole numbers of any size by key."""

    __slots__ = ("_counts", "changes", "get")

    get: Callable[..., Any]

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self.changes = 0
        """Grows with each change."""
        self.get = self._counts.get

    def __getitem__(self, key: str) -> int:
        return self._counts[key]

    def __setitem__(self, key: str, value: int) -> None:
        """Set a counter.

        Raises:
            Unstorable: the value isn't a whole number, or the key no valid text.
        """
        if type(value) is not int:
            raise Unstorable(f"counter {key!r} counts whole numbers, {value!r} is none")
        if type(key) is not str or not key.isascii():
            _check(key)
        self._counts[key] = value
        self.changes += 1

    def __delitem__(self, key: str) -> None:
        del self._counts[key]
        self.changes += 1

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def copied(self) -> dict[str, int]:
        return self._counts.copy()

    def restore(self, counts: dict[str, int]) -> None:
        """Replace all counters."""
        self._counts.clear()
        self._counts.update(counts)
        self.changes += 1


def _check(key: object) -> None:
    if type(key) is not str:
        raise Unstorable(f"a key of the state is text, {key!r} is none")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise Unstorable(f"the state key {key!r} is no valid text") from None
