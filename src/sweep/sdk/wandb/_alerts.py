"""Levels of `alert`. A module of its own, since `enum` takes longer to import than everything else here."""

from __future__ import annotations

from enum import Enum


class AlertLevel(Enum):
    """How serious an alert is."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"
