"""The store as one process reaches it: every call, its faults, and the writes it still owes (L17)."""

from session_middleware.reach.breaker import FAULTS_IN_A_ROW, LEFT_ALONE
from session_middleware.reach.making_up import CAUGHT_UP
from session_middleware.reach.owed import Reach
from session_middleware.reach.retrying import RETRY_INTERVAL
from session_middleware.reach.rewriting import rewrite

__all__ = ["CAUGHT_UP", "FAULTS_IN_A_ROW", "LEFT_ALONE", "RETRY_INTERVAL", "Reach", "rewrite"]
