"""Print results to standard output, one line of JSON each, for use in a shell pipeline."""

from __future__ import annotations

import sys
from typing import ClassVar

from engine.api import Batch, Config, Sink


class Print(Sink[Config]):
    """``headrace rule.yaml | jq .``"""

    takes_payloads: ClassVar[bool] = True

    async def collect(self, batch: Batch) -> None:
        out = sys.stdout.buffer
        out.write(b"\n".join([*(batch.payloads or ()), b""]))
        out.flush()
