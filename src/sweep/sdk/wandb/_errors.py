"""The exceptions that scripts catch by name."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Error(Exception):
    """The base of all."""

    def __init__(self, message: str = "", context: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.context = context or {}


class CommError(Error):
    """What needs the hosted service."""

    def __init__(self, msg: str = "", exc: Exception | None = None) -> None:
        super().__init__(msg)
        self.exc = exc


class AuthenticationError(CommError):
    """Never raised here: there is nothing to log in to."""


class UsageError(Error):
    """The script uses the interface wrongly."""


class UnsupportedError(UsageError):
    """The script asks for what does not exist here."""


class ConfigError(Error):
    """A config value was to be changed without `allow_val_change`."""


class WaitTimeoutError(Error):
    """Never raised here: nothing is waited for."""


ArtifactNotLoggedError = ArtifactFinalizedError = UsageError
