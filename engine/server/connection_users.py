"""Which rules use which named connection, and through which of their operators."""

from __future__ import annotations

from engine.engine import Engine
from engine.server.choices import Choices

Users = dict[str, set[str]]
"""By rule, the names of the operators that use a connection."""


def connection_users(engine: Engine) -> dict[str, Users]:
    """Return the users of each connection that any rule uses, by the name of the connection."""
    choices = Choices(engine)
    found: dict[str, Users] = {}
    for rule_id, rule in engine.rules.items():
        for choice in choices.of_rule(rule.definition):
            if name := choices.connection(choice):
                found.setdefault(name, {}).setdefault(rule_id, set()).add(choice.operator)
    return found
