"""The exceptions of the Python functions, all of them SweepError."""

from sweep.api.finding import NotFound
from sweep.core.errors import SweepError
from sweep.spec import SpecError
from sweep.stores import StoreError

__all__ = ["NotFound", "SpecError", "StoreError", "SweepError"]
