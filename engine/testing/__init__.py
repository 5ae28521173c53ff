"""The test kit: rules in virtual time, and checks for those who write plugins.

``run_case`` runs a query over given messages. ``check_source``, ``check_lookup``, ``check_sink``
and ``check_function`` try a plugin out as the engine will use it; they are plain functions for any
test runner and raise ``ContractBroken`` with all that is wrong.
"""

from engine.clock import settled as settled
from engine.testing.cases import START as START
from engine.testing.cases import Emission as Emission
from engine.testing.cases import Feed as Feed
from engine.testing.cases import Message as Message
from engine.testing.cases import Outcome as Outcome
from engine.testing.cases import run_case as run_case
from engine.testing.functions import SeenFunction as SeenFunction
from engine.testing.functions import check_function as check_function
from engine.testing.lookups import check_lookup as check_lookup
from engine.testing.sinks import check_sink as check_sink
from engine.testing.sources import SeenSource as SeenSource
from engine.testing.sources import check_source as check_source
from engine.testing.stand import ContractBroken as ContractBroken

__all__ = (
    "START",
    "ContractBroken",
    "Emission",
    "Feed",
    "Message",
    "Outcome",
    "SeenFunction",
    "SeenSource",
    "check_function",
    "check_lookup",
    "check_sink",
    "check_source",
    "run_case",
    "settled",
)
