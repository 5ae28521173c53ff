"""Results that are traced, on their way to a sink: the last step of each trace is the sink's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from engine.run.messages import Claim, Outgoing
from engine.tracing.rows import Step


def follow(outgoing: Outgoing, traces: Mapping[int, Step], sink: str) -> None:
    """Trace some results, by their place, until the sink called ``sink[…]`` is done with them."""
    name = sink.partition("[")[2].removesuffix("]")
    steps = {place: step.next(name) for place, step in traces.items() if place < len(outgoing)}
    if steps:
        outgoing.ticket = _TracedClaim(outgoing.ticket, steps)
        contexts = {place: step.traceparent for place, step in steps.items()}
        outgoing.traces = {place: context for place, context in contexts.items() if context}


class _TracedClaim:
    """The claim of a sink that also says in traces what became of their rows."""

    def __init__(self, claim: Claim, steps: Mapping[int, Step]) -> None:
        self._claim = claim
        self._steps = steps

    def lose(self, place: str, reason: str, message: str, indexes: Iterable[int]) -> None:
        """Note rows that the sink will never take."""
        lost = list(indexes)
        for step in self._among(lost):
            step.fail(f"{reason}: {message}")
        self._claim.lose(place, reason, message, lost)

    def keep(self, indexes: Sequence[int]) -> Sequence[int]:
        """Note rows that the sink has in its cache; nothing of them is traced from there on."""
        for step in self._among(indexes):
            step.happened("cached")
        return self._claim.keep(indexes)

    def confirm(self) -> None:
        """The sink is done with all of them."""
        for step in self._steps.values():
            step.end()
        self._claim.confirm()

    def _among(self, indexes: Sequence[int]) -> list[Step]:
        places = set(indexes)
        return [step for place, step in self._steps.items() if place in places]
