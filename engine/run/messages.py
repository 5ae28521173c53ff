"""From results to messages: the steps between a query and the sink's own work.

rows → template → selection → (merge of a batch) → encode → compress → encrypt.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, Protocol

import msgspec

from engine.api import Token
from engine.batch import Batch, ColumnMetadata, PickedMetadata, Row
from engine.clock import Clock
from engine.codec import UNWRITABLE, Encoder, JsonEncoder, Message, MessageEncoder, encoder
from engine.errors import RowError
from engine.run.dynamic import Compute
from engine.run.properties import SinkOptions
from engine.run.sealing import Seal, compressor, encryptor
from engine.run.selection import selection
from engine.run.tokens import Start
from engine.sql.kinds import kind_of
from engine.template import compile_template


class Claim(Protocol):
    """What a sink owes for results: a word on each row, see ``engine.run.ticket.Ticket``."""

    def lose(self, place: str, reason: str, message: str, indexes: Iterable[int]) -> None:
        """Note rows that the sink will never take."""

    def keep(self, indexes: Sequence[int]) -> Sequence[int]:
        """Note rows that the sink has in its cache; return their numbers in the custody."""

    def confirm(self) -> None:
        """The sink is done with all of them."""


Lose = Callable[[Claim, str, Exception, Sequence[int]], None]
"""Counts rows that no message will hold: whose they are, reason, error, their places there."""


@dataclass(slots=True)
class Outgoing:
    """Results on their way to one sink; see ``engine.sql.query.Result``."""

    rows: list[Row] | None
    payloads: list[bytes] | None
    ticket: Claim
    sizes: list[int] | None = None
    start: Start | None = None
    """From where they are counted; None: batches of them have no names."""
    traces: Mapping[int, str] | None = None
    """The trace contexts of some of them, by their place; None: none is traced."""

    def __len__(self) -> int:
        items: Sequence[object] = (self.payloads if self.rows is None else self.rows) or ()
        return len(items)

    def marked(self, field: str) -> Outgoing:
        """Return the same results with a field that is true in each row."""
        rows = [{**row, field: True} for row in self.decoded()]
        return Outgoing(rows, None, self.ticket, self.sizes, self.start, self.traces)

    def decoded(self) -> list[Row]:
        """Return the results as rows."""
        if self.rows is None:
            self.rows = [msgspec.json.decode(payload) for payload in self.payloads or ()]
        return self.rows


@dataclass(frozen=True, slots=True)
class Messages:
    """A batch for the sink, and for each message the places of its rows among the results."""

    batch: Batch
    places: Sequence[Sequence[int]]
    token: Token | None = None
    """By what a sink knows them again."""

    def rows_of(self, indexes: Iterable[int]) -> list[int]:
        """Return the places of the rows of some messages."""
        return [place for index in indexes for place in self.places[index]]

    def picked(self, indexes: Sequence[int]) -> Messages:
        """Return some of them; of rows that form lists, lists of those that are left."""
        if len(indexes) == len(self.places):
            return self
        batch = self.batch
        sizes: list[int] | None = None
        if batch.sizes is not None:
            ends = list(accumulate(batch.sizes))
            counts = Counter(bisect_right(ends, index) for index in indexes)
            sizes = [counts[number] for number in sorted(counts)]
        return Messages(
            Batch(
                None if batch.rows is None else [batch.rows[index] for index in indexes],
                payloads=None
                if batch.payloads is None
                else [batch.payloads[index] for index in indexes],
                meta=PickedMetadata(batch.meta, indexes),
                sizes=sizes,
                traces={
                    place: batch.traces[index]
                    for place, index in enumerate(indexes)
                    if index in batch.traces
                },
            ),
            [self.places[index] for index in indexes],
            self.token,
        )

    def trace(self, contexts: Mapping[int, str]) -> None:
        """Give messages the trace contexts of their rows; one of several rows has the first."""
        if isinstance(self.places, Singles):
            self.batch.traces = contexts
            return
        found = {}
        for index, places in enumerate(self.places):
            traced = next((place for place in places if place in contexts), None)
            if traced is not None:
                found[index] = contexts[traced]
        self.batch.traces = found


class Composer:
    """Makes the messages of one sink, as its common options say."""

    def __init__(
        self,
        options: SinkOptions,
        dynamic: Mapping[str, Compute],
        clock: Clock,
        lose: Lose,
        *,
        takes_payloads: bool,
        message: Message | None = None,
    ) -> None:
        """``dynamic`` are the properties to compute for each message.

        ``message`` is what its schema says, for a format that has schemas.

        Raises:
            ConfigError: the options can't work.
        """
        self._single = options.send_single
        self._omits_empty = options.omit_if_empty
        self._is_gathered = options.is_batched
        self._merges = options.is_batched and options.send_single
        self._dynamic = dynamic
        self._select = selection(options)
        self._lose = lose
        text = options.data_template
        self._template = compile_template(text, clock=clock, lenient=True) if text else None
        self._delimited = options.format.lower() == "delimited"
        encode = encoder(
            options.format,
            delimiter=options.delimiter,
            has_header=options.has_header,
            fields=options.fields,
            message=message,
        )
        is_text = self._select is None and not isinstance(encode, MessageEncoder)
        self._writes_text = bool(text) and takes_payloads and is_text
        self.writes_json = takes_payloads and isinstance(encode, JsonEncoder)
        self._encoder: Encoder | None = encode if takes_payloads else None
        if self._writes_text:
            self._encoder = Encoder("UTF-8 text", str.encode)
        self._seals = _seals(options) if takes_payloads else []
        self._is_plain = not (self._template or self._select or self._omits_empty)
        self.forwards_payloads = self.writes_json and self._is_plain
        """Whether messages can go out as they came in, without being rows in between."""

    def compose(self, outgoing: Outgoing) -> Messages:
        """Return the messages for the sink; what can't be made into one is lost."""
        if outgoing.payloads is not None and self.forwards_payloads and not self._dynamic:
            return self._forwarded(outgoing.payloads, outgoing.sizes)
        rows = outgoing.decoded()
        is_plain = self._is_plain and not self._dynamic
        if is_plain and self._encoder is None:
            sizes = outgoing.sizes if self._merges or not self._single else None
            return Messages(Batch(rows, sizes=sizes), Singles(len(rows)))
        draft = self._drafted(rows, outgoing.sizes)
        if not is_plain:
            draft = self._changed(draft, partial(self._lose, outgoing.ticket))
        if self._merges:
            draft = self._merged(draft)
        if self._encoder is not None:
            return self._encoded(self._encoder, draft, outgoing.ticket)
        alone = outgoing.sizes is None and self._template is None
        return _as_rows(draft, is_list=self._merges or not (self._single or alone))

    def _changed(self, draft: _Draft, lose: _LoseHere) -> _Draft:
        """Return what the template and the selection make of messages."""
        if self._omits_empty:
            draft = draft.without_empty()
        if self._dynamic or self._template:
            draft = self._rendered(draft, lose)
        if self._select is not None:
            draft = draft.changed(self._select, "selection", lose)
        if self._omits_empty:
            draft = draft.without_empty()
        if self._encoder is None and not (self._template is None and self._select is None):
            draft = draft.changed(_rows_in, "selection", lose)
        return draft

    # -- steps ---------------------------------------------------------------------------------

    def _forwarded(self, payloads: list[bytes], sizes: list[int] | None) -> Messages:
        if self._merges:
            sizes = [len(payloads)]
        elif self._single:
            sizes = None
        places: Sequence[Sequence[int]] = Singles(len(payloads))
        if sizes is not None:
            places = _ranges(sizes)
            payloads = [b"[" + b",".join(payloads[p.start : p.stop]) + b"]" for p in places]
        elif not self._single:
            payloads = [b"[" + payload + b"]" for payload in payloads]
        if self._seals:
            payloads = self._sealed(payloads)
        return Messages(Batch(payloads=payloads), places)

    def _drafted(self, rows: list[Row], sizes: list[int] | None) -> _Draft:
        """Return each row, or each list of rows that were emitted together, as a message."""
        if self._single:
            return _Draft(rows, Singles(len(rows)), {})
        if sizes is None:
            return _Draft([[row] for row in rows], Singles(len(rows)), {})
        ranges = _ranges(sizes)
        return _Draft([rows[place.start : place.stop] for place in ranges], ranges, {})

    def _rendered(self, draft: _Draft, lose: _LoseHere) -> _Draft:
        """Compute the properties and the template of each message from the same input."""
        columns: dict[str, list[Any]] = {name: [] for name in self._dynamic}

        def render(item: Any) -> Any:
            properties = [compute(item) for compute in self._dynamic.values()]
            made = item if self._template is None else self._template(item)
            if self._template is not None and not self._writes_text:
                made = _parsed(made)
            for column, value in zip(columns.values(), properties, strict=True):
                column.append(value)
            return made

        made = draft.changed(render, "template", lose)
        return _Draft(made.items, made.places, columns)

    def _merged(self, draft: _Draft) -> _Draft:
        """Return one message of all whose properties are the same, in the order of the first."""
        groups: dict[bytes, list[int]] = {}
        for index in range(len(draft.items)):
            key = msgspec.msgpack.encode([column[index] for column in draft.columns.values()])
            groups.setdefault(key, []).append(index)
        items: list[Any] = []
        for indexes in groups.values():
            parts = [draft.items[index] for index in indexes]
            items.append(self._joined_text(parts) if self._writes_text else _joined(parts))
        places = [[p for i in indexes for p in draft.places[i]] for indexes in groups.values()]
        firsts = [indexes[0] for indexes in groups.values()]
        columns = {name: [column[i] for i in firsts] for name, column in draft.columns.items()}
        return _Draft(items, places, columns)

    def _joined_text(self, texts: Sequence[str]) -> str:
        return "\n".join(texts) if self._delimited else f"[{','.join(texts)}]"

    def _encoded(self, encoder: Encoder, draft: _Draft, ticket: Claim) -> Messages:
        try:
            payloads = encoder.encode(draft.items)
        except UNWRITABLE:
            payloads, draft = self._encoded_one_by_one(encoder, draft, ticket)
        if self._seals:
            payloads = self._sealed(payloads)
        meta = _metadata(len(payloads), draft.columns)
        return Messages(Batch(payloads=payloads, meta=meta), draft.places)

    def _encoded_one_by_one(
        self, encoder: Encoder, draft: _Draft, ticket: Claim
    ) -> tuple[list[bytes], _Draft]:
        """Return the payloads of all messages that can be written, and these messages."""
        lose = partial(self._lose, ticket)
        if self._is_gathered:
            draft = _weeded(encoder, draft, lose)
        payloads, kept, failures = encoder.encode_one_by_one(draft.items)
        for index, error in failures:
            lose("encoding", error, draft.places[index])
        return payloads, draft.picked(kept)

    def _sealed(self, payloads: list[bytes]) -> list[bytes]:
        for seal in self._seals:
            payloads = list(map(seal, payloads))
        return payloads


_LoseHere = Callable[[str, Exception, Sequence[int]], None]
"""Counts rows of the results at hand: reason, error, their places."""


@dataclass(slots=True)
class _Draft:
    """Messages in the making: what they hold, the places of their rows, their properties."""

    items: list[Any]
    places: Sequence[Sequence[int]]
    columns: dict[str, list[Any]]

    def changed(self, change: Callable[[Any], Any], reason: str, lose: _LoseHere) -> _Draft:
        """Return the messages with their contents changed; those that can't be are lost."""
        items: list[Any] = []
        kept: list[int] = []
        for index, item in enumerate(self.items):
            try:
                items.append(change(item))
            except RowError as error:
                lose(reason, error, self.places[index])
                continue
            kept.append(index)
        if len(kept) == len(self.items):
            return _Draft(items, self.places, self.columns)
        picked = self.picked(kept)
        return _Draft(items, picked.places, picked.columns)

    def without_empty(self) -> _Draft:
        """Return the messages that hold anything."""
        return self.picked([i for i, item in enumerate(self.items) if _has_content(item)])

    def picked(self, indexes: Sequence[int]) -> _Draft:
        """Return some of the messages."""
        if len(indexes) == len(self.items):
            return self
        return _Draft(
            [self.items[i] for i in indexes],
            [self.places[i] for i in indexes],
            {name: [column[i] for i in indexes] for name, column in self.columns.items()},
        )


def _weeded(encoder: Encoder, draft: _Draft, lose: _LoseHere) -> _Draft:
    """Return messages without the rows that can't be written: they came together by chance."""
    items: list[Any] = []
    places: list[Sequence[int]] = []
    for item, own in zip(draft.items, draft.places, strict=True):
        if not isinstance(item, list) or len(item) != len(own):
            items.append(item)
            places.append(own)
            continue
        _, kept, failures = encoder.encode_one_by_one([[row] for row in item])
        for index, error in failures:
            lose("encoding", error, [own[index]])
        items.append([item[index] for index in kept])
        places.append([own[index] for index in kept])
    left = [index for index, own in enumerate(places) if own]
    return _Draft(items, places, draft.columns).picked(left)


def _as_rows(draft: _Draft, *, is_list: bool) -> Messages:
    """Return a batch of the rows in all messages, with the lengths of the lists that they form."""
    if not is_list and all(type(item) is dict for item in draft.items):
        meta = _metadata(len(draft.items), draft.columns)
        return Messages(Batch(draft.items, meta=meta), draft.places)
    sizes = [len(rows) for rows in draft.items]

    def for_each_row(column: Iterable[Any]) -> list[Any]:
        return [value for value, size in zip(column, sizes, strict=True) for _ in range(size)]

    columns = {name: for_each_row(column) for name, column in draft.columns.items()}
    rows = [row for rows in draft.items for row in rows]
    forms_lists = is_list or any(size != 1 for size in sizes)
    batch = Batch(rows, meta=_metadata(len(rows), columns), sizes=sizes if forms_lists else None)
    return Messages(batch, for_each_row(draft.places))


class Singles(Sequence[Sequence[int]]):
    """Places of messages that hold one row each, all rows in order."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Any:
        return (range(self._size)[index],)


def _ranges(sizes: Iterable[int]) -> list[range]:
    ranges: list[range] = []
    start = 0
    for size in sizes:
        ranges.append(range(start, start + size))
        start += size
    return ranges


def _seals(options: SinkOptions) -> list[Seal]:
    seals: list[Seal] = []
    if options.compression:
        seals.append(compressor(options.compression, options.compression_props))
    if options.encryption:
        seals.append(encryptor(options.enc_props))
    return seals


def _metadata(size: int, columns: Mapping[str, Sequence[Any]]) -> ColumnMetadata | None:
    return ColumnMetadata(size, columns) if columns else None


def _has_content(item: Any) -> bool:
    if isinstance(item, str):
        return bool(item.strip())
    if isinstance(item, list):
        return any(map(_has_content, item))
    return item is not None and item != {}


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RowError(f"dataTemplate: the result isn't JSON: {error}") from None


def _joined(parts: Sequence[Any]) -> list[Any]:
    return [row for part in parts for row in (part if isinstance(part, list) else (part,))]


def _rows_in(item: Any) -> list[Row]:
    rows = item if isinstance(item, list) else [item]
    for row in rows:
        if not isinstance(row, dict):
            raise RowError(f"this sink takes rows, not {kind_of(row)}")
    return rows
