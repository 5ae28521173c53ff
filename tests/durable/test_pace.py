"""When checkpoints are taken."""

from __future__ import annotations

import anyio

from engine import Engine
from engine.api import Batch, Config, Emit, Sink, Source
from engine.registry import PluginKind
from tests.conftest import eventually


async def test_what_came_during_a_checkpoint_is_in_the_next_one_though_nothing_more_comes(
    engine: Engine,
) -> None:
    acknowledged: list[int] = []
    lets_go = anyio.Event()

    class Two(Source[Config]):
        async def run(self, emit: Emit) -> None:
            for number in (1, 2):
                batch = Batch([{"n": number}])
                batch.acknowledge = lambda done=number: acknowledged.append(done)
                await emit(batch)
                await anyio.sleep(0.1)
            await anyio.sleep_forever()

    class Held(Sink[Config]):
        """A checkpoint waits for it."""

        async def collect(self, batch: Batch) -> None:
            await lets_go.wait()

    engine.plugins.register(PluginKind.SOURCE, "two", Two)
    engine.plugins.register(PluginKind.SINK, "held", Held)
    engine.define_stream("s", type="two")
    rule = await engine.start(
        {
            "id": "r",
            "sql": "SELECT acc_count(n) AS c FROM s",
            "actions": [{"held": {}}],
            "options": {"qos": 1, "checkpointInterval": "20ms"},
        }
    )
    await eventually(lambda: rule.metrics.received == 2)
    await anyio.sleep(0.05)
    lets_go.set()
    await eventually(lambda: acknowledged == [1, 2], seconds=3)
