"""What the process uses: processor, memory, files; 0 where the system doesn't say."""

from __future__ import annotations

import os
import time
from pathlib import Path

_PAGE = os.sysconf("SC_PAGESIZE") if hasattr(os, "sysconf") else 4096


def cpu_seconds() -> float:
    """Return the processor time that the process has used."""
    return time.process_time()


def resident_bytes() -> int:
    """Return the memory that the process has now; where only its largest is known, that."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except (OSError, IndexError):
        return _largest()
    return int(pages) * _PAGE


def total_bytes() -> int:
    """Return the memory of the machine."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * _PAGE
    except (AttributeError, ValueError, OSError):
        return 0


def open_files() -> int:
    """Return how many files and sockets are open."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


def _largest() -> int:
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
