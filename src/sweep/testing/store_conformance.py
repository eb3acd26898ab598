"""What every store must do, as checks to run over it.

    for check in CHECKS.values():
        check(a_fresh_world())

The rule of this suite: a check knows a store only by its protocol and `StoreWorld`, fails with AssertionError, and sleeps
only where waiting itself is what is checked.
"""

from __future__ import annotations

from sweep.testing import _store_batch_checks, _store_journal_checks, _store_side_checks
from sweep.testing._store_world import CHECKS, Check, StoreWorld

MODULES = (_store_journal_checks, _store_side_checks, _store_batch_checks)
"""Where the checks stand."""

__all__ = ["CHECKS", "MODULES", "Check", "StoreWorld"]
