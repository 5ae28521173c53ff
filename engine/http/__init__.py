"""What plugins that speak HTTP as clients have in common."""

from __future__ import annotations

from engine.http.bodies import BODY_TYPES as BODY_TYPES
from engine.http.bodies import BodyType as BodyType
from engine.http.client import Client as Client
from engine.http.client import Reply as Reply
from engine.http.client import may_pass as may_pass
from engine.http.client import shown as shown
from engine.http.options import HttpConfig as HttpConfig
from engine.http.options import OAuth as OAuth
from engine.http.options import check_address as check_address
from engine.http.tokens import Tokens as Tokens
