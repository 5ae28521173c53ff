"""Plugin packages: installing, updating, removing, describing, making and starting them.

``Packages(root)`` is all of it; the command line and servers stand in front of it.
"""

from engine.packages.archive import Limits as Limits
from engine.packages.fetch import FetchLimits as FetchLimits
from engine.packages.packages import Packages as Packages
from engine.packages.record import Record as Record
from engine.packages.report import Installed as Installed
from engine.packages.report import PluginReport as PluginReport
from engine.packages.report import Removed as Removed
from engine.packages.users import User as User

__all__ = (
    "FetchLimits",
    "Installed",
    "Limits",
    "Packages",
    "PluginReport",
    "Record",
    "Removed",
    "User",
)
