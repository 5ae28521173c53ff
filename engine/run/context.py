"""The context that plugins see: one for each use in a rule."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

from engine.api import Context
from engine.clock import Clock
from engine.run.resources import ResourcePool
from engine.state.scope import StateScope

if TYPE_CHECKING:
    from engine.folders import FileFolders

T = TypeVar("T")
_LOGGER = logging.getLogger("engine.plugin")


class _RuleLogger(logging.LoggerAdapter[logging.Logger]):
    """Puts rule and operator before every message."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        extra = self.extra or {}
        return f"rule={extra['rule']} op={extra['op']} {msg}", kwargs


class PluginContext(Context):
    """One use of one plugin; ``data_path`` is the plugin's folder, from the root on."""

    def __init__(
        self,
        *,
        rule_id: str,
        op_id: str,
        instance_id: int,
        root_path: Path,
        clock: Clock,
        state: StateScope,
        resources: ResourcePool,
        data_path: PurePath | str = "etc",
        on_connection: Callable[[bool, str], None],
        private_hosts: Sequence[str] | None = None,
        file_folders: FileFolders | None = None,
    ) -> None:
        self.rule_id = rule_id
        self.op_id = op_id
        self.instance_id = instance_id
        self.root_path = root_path
        self.data_path = root_path / data_path
        self.clock = clock
        self.started_at = clock.now()
        self.state = state
        self.private_hosts = private_hosts
        self.file_folders = file_folders
        self.logger = _RuleLogger(_LOGGER, {"rule": rule_id, "op": op_id})
        self._resources = resources
        self._on_connection = on_connection

    def shared(
        self, key: Hashable, make: Callable[[], AbstractAsyncContextManager[T]]
    ) -> AbstractAsyncContextManager[T]:
        return self._resources.use(key, make)

    def report_connection(self, connected: bool, message: str = "") -> None:
        self._on_connection(connected, message)
