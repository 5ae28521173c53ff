"""Plain values to YAML text, as people would write it."""

from __future__ import annotations

from typing import Any

import yaml


def to_yaml(value: Any) -> str:
    """Return a value as YAML; keys keep their order."""
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text
