"""Bytes to rows and rows to bytes, in the format that a stream or an action names."""

from __future__ import annotations

from collections.abc import Sequence

from engine.codec.binary import BinaryDecoder, BinaryEncoder
from engine.codec.contract import UNWRITABLE, Decoder, Encoder, Failure, Message
from engine.codec.delimited import DelimitedDecoder, DelimitedEncoder
from engine.codec.json import JsonDecoder, JsonEncoder
from engine.codec.message import MessageDecoder, MessageEncoder
from engine.codec.rows import RowsDecoder
from engine.codec.urlencoded import UrlencodedDecoder, UrlencodedEncoder
from engine.errors import ConfigError
from engine.layout import Layout
from engine.sql.schema import Schema
from engine.suggest import did_you_mean

__all__ = (
    "FORMATS",
    "UNWRITABLE",
    "BinaryDecoder",
    "Decoder",
    "Encoder",
    "Failure",
    "JsonDecoder",
    "JsonEncoder",
    "Message",
    "MessageEncoder",
    "RowsDecoder",
    "decoder",
    "encoder",
)

FORMATS = ("json", "binary", "delimited", "urlencoded", "protobuf", "custom")


def decoder(
    format_: str,
    layout: Layout,
    schema: Schema,
    *,
    delimiter: str = ",",
    fields: Sequence[str] = (),
    message: Message | None = None,
) -> Decoder:
    """Return the decoder of a format.

    ``delimiter`` separates the columns of delimited messages; ``fields`` are the names of these
    columns, by default ``col0``, ``col1`` …; ``message`` is what the schema says of formats that
    need one.

    Raises:
        ConfigError: there is no such format, or the delimiter can't be one.
    """
    match format_.lower():
        case "json":
            return JsonDecoder(layout, schema)
        case "binary":
            return BinaryDecoder(schema)
        case "delimited":
            return DelimitedDecoder(schema, delimiter, fields)
        case "urlencoded":
            return UrlencodedDecoder(schema)
        case "protobuf" | "custom":
            return MessageDecoder(layout, schema, _described(format_, message))
    raise _unknown(format_)


def encoder(
    format_: str,
    *,
    delimiter: str = ",",
    has_header: bool = False,
    fields: Sequence[str] = (),
    message: Message | None = None,
) -> Encoder:
    """Return the encoder of a format.

    ``delimiter`` separates the columns of delimited messages, ``has_header`` puts their names into
    a first line, and ``fields`` is their order, by default that of their names; ``message`` is what
    the schema says of formats that need one.

    Raises:
        ConfigError: there is no such format, or the delimiter can't be one.
    """
    match format_.lower():
        case "json":
            return JsonEncoder()
        case "binary":
            return BinaryEncoder()
        case "delimited":
            return DelimitedEncoder(delimiter, has_header=has_header, fields=fields)
        case "urlencoded":
            return UrlencodedEncoder()
        case "protobuf" | "custom":
            return MessageEncoder(format_.lower(), _described(format_, message))
    raise _unknown(format_)


def _described(format_: str, message: Message | None) -> Message:
    if message is None:
        raise ConfigError(f"format {format_} needs a schema", hint="name it with schemaId")
    return message


def _unknown(format_: str) -> ConfigError:
    guess = did_you_mean(format_, FORMATS)
    return ConfigError(
        f"unknown format {format_!r}", hint=guess or f"it can be {', '.join(FORMATS)}"
    )
