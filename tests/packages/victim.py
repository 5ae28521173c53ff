"""Carries out operations on packages in processes that are killed at their n-th step.

Each line of the input is ``operation root zip n``; the answer is ``killed`` or ``done``.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from engine.packages import Packages
from engine.registry import PluginKind

_STEPS = ("os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "open", "shutil.rmtree")


def die_at(step: int, root: str) -> None:
    """Kill this process before its n-th change below a root."""
    left = step

    def count(event: str, args: tuple[object, ...]) -> None:
        nonlocal left
        if event not in _STEPS or not any(str(arg).startswith(root) for arg in args[:2]):
            return
        if event == "open" and not set(str(args[1])) & set("wxa+"):
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        operation, root, archive, step = line.split()
        child = os.fork()
        if child == 0:
            packages = Packages(Path(root))
            die_at(int(step), root)
            if operation == "remove":
                packages.remove(PluginKind.FUNCTION, "geo")
            else:
                getattr(packages, operation)(PluginKind.FUNCTION, "geo", archive)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write("killed\n" if os.WIFSIGNALED(status) else f"done {status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
