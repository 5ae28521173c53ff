"""Rules from their values in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from engine.config.convert import config_from, expected
from engine.config.positions import NOWHERE, Positions
from engine.config.rule import ActionDef, DatetimeRange, OverflowPolicy, RuleDef, RuleOptions
from engine.config.streams import check_id, entries
from engine.errors import ConfigError, Position


class _RuleKeys(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A rule's keys as written; what has a shape of its own is checked afterwards."""

    id: str = ""
    name: str = ""
    version: str = ""
    sql: str = ""
    graph: Any = None
    actions: Any = None
    options: Any = None
    triggered: bool = True
    tags: tuple[str, ...] = ()
    temp: bool = False
    tests: tuple[dict[str, Any], ...] = ()


RULE_KEYS: tuple[str, ...] = _RuleKeys.__struct_encode_fields__


def rules_from(
    value: Any, places: Positions, defaults: Mapping[str, Any] | None = None
) -> Iterator[RuleDef]:
    """Yield the rules of a ``rules`` section: a list of rules, or a mapping of id to rule.

    Raises:
        ConfigError: one of them is malformed.
    """
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield rule_from(item, places.below(index), defaults=defaults)
        return
    for rule_id, item, place in entries(value, "rules", places):
        check_id(rule_id, "id of a rule", places, rule_id)
        at = places.of_key(rule_id)
        yield rule_from(item, place, named=(rule_id, at), defaults=defaults)


def rule_from(
    value: Any,
    places: Positions = NOWHERE,
    *,
    named: tuple[str, Position | None] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> RuleDef:
    """Return one rule.

    ``named`` is an id given by the surroundings, with its place; ``id`` in the rule may then be
    missing. ``defaults`` are options that the rule's own win over.

    Raises:
        ConfigError: the rule is malformed.
    """
    if not isinstance(value, dict):
        label = f"rule {named[0]}" if named else "rule"
        raise expected("a mapping with sql and actions", value, label, places)
    given = {key: item for key, item in value.items() if item is not None}
    label = f"rule {named[0] if named else given.get('id', '')}".rstrip()
    keys = config_from(given, _RuleKeys, where=label, positions=places)
    rule_id, at = _identity(keys, named, places)
    _check_query(keys, label, places, at)
    return RuleDef(
        id=rule_id,
        name=keys.name,
        version=keys.version,
        sql=keys.sql,
        actions=tuple(_actions(keys.actions, label, places.below("actions"), at)),
        options=options_from(keys.options, places.below("options"), defaults=defaults),
        triggered=keys.triggered,
        tags=keys.tags,
        temp=keys.temp,
        tests=keys.tests,
        at=at,
        where=places,
    )


def _identity(
    keys: _RuleKeys, named: tuple[str, Position | None] | None, places: Positions
) -> tuple[str, Position | None]:
    place = places.below("id")
    if named is None:
        if not keys.id:
            raise ConfigError("the rule has no id", at=places.of(), hint="add 'id: <name>'")
        check_id(keys.id, "id of a rule", place)
        return keys.id, place.of()
    if keys.id and keys.id != named[0]:
        raise ConfigError(f"the rule {named[0]!r} says its id is {keys.id!r}", at=place.of())
    return named


def _check_query(keys: _RuleKeys, label: str, places: Positions, at: Position | None) -> None:
    if keys.graph is not None:
        hint = "write the query as 'sql'"
        message = f"{label}: graph rules are not supported yet; write sql"
        raise ConfigError(message, at=places.of_key("graph"), hint=hint)
    if not keys.sql.strip():
        place = places.of("sql") if "sql" in places.keys else at
        raise ConfigError(f"{label} has no sql", at=place)


def _actions(
    value: Any, label: str, places: Positions, rule_at: Position | None
) -> Iterator[ActionDef]:
    if not value and isinstance(value, (list, type(None))):
        at = places.of() if isinstance(value, list) else rule_at
        hint = "add 'actions' with at least one sink, such as '- log: {}'"
        raise ConfigError(f"{label} has no actions", at=at, hint=hint)
    if not isinstance(value, list):
        raise expected("a list of sinks", value, f"{label}.actions", places)
    for index, item in enumerate(value):
        place = places.below(index)
        if not isinstance(item, dict) or not item:
            what = "a sink and its properties, such as 'log: {}'"
            raise expected(what, item or None, f"{label}.actions[{index}]", place)
        for kind, properties, inner in entries(item, f"{label}.actions[{index}]", place):
            if not isinstance(properties, (dict, type(None))):
                what = "a mapping of properties"
                raise expected(what, properties, f"{label}.actions[{index}].{kind}", inner)
            yield ActionDef(
                type=kind,
                name=f"{kind}_{index}",
                properties=dict(properties or {}),
                at=place.of_key(kind),
                where=inner,
            )


def options_from(
    value: Any, places: Positions = NOWHERE, *, defaults: Mapping[str, Any] | None = None
) -> RuleOptions:
    """Return a rule's options; ``defaults`` hold keys that those in ``value`` win over.

    As in eKuiper, a checkpoint interval of zero or less and an empty ``duration`` mean the
    default.

    Raises:
        ConfigError: an option is unknown or its value doesn't fit.
    """
    if not isinstance(value, (dict, type(None))):
        raise expected("a mapping of options", value, "options", places)
    given = {**(defaults or {}), **(value or {})}
    given = {key: item for key, item in given.items() if item is not None}
    interval = given.get("checkpointInterval")
    if isinstance(interval, (int, float)) and not isinstance(interval, bool) and interval <= 0:
        del given["checkpointInterval"]
    if given.get("duration") == "":
        del given["duration"]
    options = config_from(given, RuleOptions, where="options", positions=places)
    _check_ranges(options.cron_datetime_range, places.below("cronDatetimeRange"))
    if options.overflow is None and options.disable_buffer_full_discard is not None:
        overflow: OverflowPolicy = "block" if options.disable_buffer_full_discard else "dropOldest"
        return msgspec.structs.replace(options, overflow=overflow)
    return options


def _check_ranges(ranges: tuple[DatetimeRange, ...], places: Positions) -> None:
    for index, entry in enumerate(ranges):
        where = f"options.cronDatetimeRange[{index}]"
        is_timestamps = entry.begin_timestamp is not None and entry.end_timestamp is not None
        if not is_timestamps and not (entry.begin and entry.end):
            message = f"{where}: expected begin and end, or beginTimestamp and endTimestamp"
            raise ConfigError(message, at=places.of(index))
        for key in ("begin", "end"):
            text: str = getattr(entry, key)
            if text:
                _check_datetime(text, f"{where}.{key}", places.below(index, key))


def _check_datetime(text: str, where: str, places: Positions) -> None:
    try:
        datetime.strptime(text, "%Y-%m-%d %H:%M:%S")
    except ValueError:
        raise expected("a time such as '2026-01-31 08:00:00'", text, where, places) from None
