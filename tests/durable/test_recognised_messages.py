"""With QoS 2 a checkpoint holds by what its messages are known when they come again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from engine import Engine
from engine.api import Batch, Config, Emit, Source
from engine.registry import PluginKind


class Numbered(Source[Config]):
    """Gives each of some messages once to each start of a rule."""

    recognised: list[list[int]]

    async def run(self, emit: Emit) -> None:
        for number in self.numbers:
            await emit(Batch([{"n": number}], identities=[number]))

    numbers: Sequence[int] = ()
    repeats = 10

    def recognise(self, identities: Sequence[int]) -> None:
        self.recognised.append(list(identities))


@pytest.mark.parametrize(("qos", "known"), [(1, []), (2, [[], [1, 2], [1, 2, 3]])])
async def test_messages_of_all_checkpoints_are_recognised_after_a_restart(
    tmp_path: Path, qos: int, known: list[list[int]]
) -> None:
    Numbered.recognised = []
    for numbers in ([1, 2], [3], []):
        Numbered.numbers = numbers
        async with Engine(tmp_path) as engine:
            engine.plugins.register(PluginKind.SOURCE, "numbered", Numbered)
            engine.define_stream("s", type="numbered")
            sql = "SELECT acc_count(n) AS c FROM s"
            rule = await engine.start(
                {"id": "r", "sql": sql, "actions": [{"nop": {}}], "options": {"qos": qos}}
            )
            await rule.finished.wait()
    assert Numbered.recognised == known
