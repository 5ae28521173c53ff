"""Fixtures for tests of plugins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins.folder import PluginRoot


@pytest.fixture
def root(tmp_path: Path) -> PluginRoot:
    """An empty root, without bundled plugins."""
    return PluginRoot(tmp_path)
