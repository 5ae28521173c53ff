"""Count words over all messages of a rule."""

from __future__ import annotations

from engine.api import Context, Function


class AccumulateWordCount(Function):
    """accumulateWordCount(text, separator): how many words the rule has seen so far."""

    def exec(self, ctx: Context, text: str | None, separator: str = " ") -> int:
        words = text.split(separator or None) if text else []
        return ctx.incr_counter("words", len([word for word in words if word]))
