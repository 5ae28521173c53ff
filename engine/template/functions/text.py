"""Text functions; numbers and booleans count as their text. The text comes last, for pipes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from engine.sql.regexp import Regexp, compiled
from engine.template.formatting import pieces_of, quoted
from engine.template.values import (
    argument_text,
    checked_length,
    checked_text,
    elements,
    text_of,
    weigh,
    whole,
)

_WORD_START = re.compile(r"(?<![^\W_])[^\W\d_]")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


def _on_text(function: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: function(argument_text(value))


def _title(text: str) -> str:
    return _WORD_START.sub(lambda found: found[0].upper(), text)


def _untitle(text: str) -> str:
    return _WORD_START.sub(lambda found: found[0].lower(), text)


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(text)]


def _trim_all(characters: Any, value: Any) -> str:
    return argument_text(value).strip(argument_text(characters))


def _trim_prefix(prefix: Any, value: Any) -> str:
    return argument_text(value).removeprefix(argument_text(prefix))


def _trim_suffix(suffix: Any, value: Any) -> str:
    return argument_text(value).removesuffix(argument_text(suffix))


def _trunc(size: Any, value: Any) -> str:
    """The first characters of a text; with a negative size the last ones."""
    text, count = argument_text(value), whole(size)
    return text[count:] if count < 0 else text[:count]


def _substr(start: Any, end: Any, value: Any) -> str:
    """The characters from one place up to another; a negative end means the end of the text."""
    first, last = max(whole(start), 0), whole(end)
    text = argument_text(value)
    return text[first:] if last < 0 else text[first:last]


def _repeat(count: Any, value: Any) -> str:
    text, times = argument_text(value), whole(count)
    if times < 0:
        raise ValueError("a text can't be repeated less than 0 times")
    checked_length(len(text) * times)
    return text * times


def _replace(old: Any, new: Any, value: Any) -> str:
    wanted, put, text = argument_text(old), argument_text(new), argument_text(value)
    hits = text.count(wanted)
    checked_length(len(text) + hits * max(len(put) - len(wanted), 0))
    return text.replace(wanted, put)


def _contains(inner: Any, value: Any) -> bool:
    return argument_text(inner) in argument_text(value)


def _has_prefix(prefix: Any, value: Any) -> bool:
    return argument_text(value).startswith(argument_text(prefix))


def _has_suffix(suffix: Any, value: Any) -> bool:
    return argument_text(value).endswith(argument_text(suffix))


def _parts(separator: Any, value: Any, most: int = 0) -> list[str]:
    mark, text = argument_text(separator), argument_text(value)
    if not mark:
        checked_length(len(text), "elements")
        return list(text) if not most else [*text[: most - 1], text[most - 1 :]]
    checked_length(text.count(mark), "elements")
    return text.split(mark, most - 1)


def _split_list(separator: Any, value: Any) -> list[str]:
    return _parts(separator, value)


def _split(separator: Any, value: Any) -> dict[str, str]:
    """The parts of a text as ``_0``, ``_1`` …"""
    return _numbered(_parts(separator, value))


def _splitn(separator: Any, most: Any, value: Any) -> dict[str, str]:
    return _numbered(_parts(separator, value, max(whole(most), 1)))


def _numbered(parts: Sequence[str]) -> dict[str, str]:
    return {f"_{number}": text for number, text in enumerate(parts)}


def _join(separator: Any, value: Any) -> str:
    mark = argument_text(separator)
    items = elements(value) if isinstance(value, (list, tuple)) else [value]
    checked_length(len(mark) * len(items))
    weigh(items)
    return checked_text(mark.join(pieces_of(items)))


def _cat(*values: Any) -> str:
    return checked_text(" ".join(pieces_of(values)))


def _quote(*values: Any) -> str:
    """Values in double quotes, escaped as in JSON."""
    return checked_text(" ".join(map(quoted, pieces_of(values))))


def _squote(*values: Any) -> str:
    return checked_text(" ".join(f"'{text}'" for text in pieces_of(values)))


def _indent(spaces: Any, value: Any) -> str:
    text, width = argument_text(value), whole(spaces)
    checked_length(len(text) + max(width, 0) * (text.count("\n") + 1))
    gap = " " * width
    return gap + text.replace("\n", f"\n{gap}")


def _nindent(spaces: Any, value: Any) -> str:
    return "\n" + _indent(spaces, value)


def _to_strings(values: Any) -> list[str]:
    weigh(values)
    return [text_of(value) for value in elements(values)]


def _regexp(pattern: Any) -> Regexp:
    return compiled(argument_text(pattern))


def _regex_match(pattern: Any, value: Any) -> bool:
    return _regexp(pattern).matches(argument_text(value))


def _regex_find(pattern: Any, value: Any) -> str:
    return _regexp(pattern).first(argument_text(value)) or ""


def _regex_replace_all(pattern: Any, value: Any, template: Any) -> str:
    """A text with all that fits replaced; ``${1}`` and ``${name}`` are groups."""
    return checked_text(_regexp(pattern).replace(argument_text(value), argument_text(template)))


def _regex_replace_all_literal(pattern: Any, value: Any, text: Any) -> str:
    return _regex_replace_all(pattern, value, argument_text(text).replace("$", "$$"))


def _regex_quote_meta(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)


TEXT: dict[str, Callable[..., Any]] = {
    "upper": _on_text(str.upper),
    "lower": _on_text(str.lower),
    "title": _on_text(_title),
    "untitle": _on_text(_untitle),
    "swapcase": _on_text(str.swapcase),
    "snakecase": _on_text(lambda text: "_".join(_words(text))),
    "kebabcase": _on_text(lambda text: "-".join(_words(text))),
    "camelcase": _on_text(lambda text: "".join(map(str.capitalize, _words(text)))),
    "trim": _on_text(str.strip),
    "nospace": _on_text(lambda text: "".join(text.split())),
    "trimAll": _trim_all,
    "trimPrefix": _trim_prefix,
    "trimSuffix": _trim_suffix,
    "trunc": _trunc,
    "substr": _substr,
    "repeat": _repeat,
    "replace": _replace,
    "contains": _contains,
    "hasPrefix": _has_prefix,
    "hasSuffix": _has_suffix,
    "split": _split,
    "splitn": _splitn,
    "splitList": _split_list,
    "join": _join,
    "cat": _cat,
    "quote": _quote,
    "squote": _squote,
    "indent": _indent,
    "nindent": _nindent,
    "toString": text_of,
    "toStrings": _to_strings,
    "regexMatch": _regex_match,
    "regexFind": _regex_find,
    "regexReplaceAll": _regex_replace_all,
    "regexReplaceAllLiteral": _regex_replace_all_literal,
    "regexQuoteMeta": _on_text(_regex_quote_meta),
}
