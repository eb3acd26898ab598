"""The hosted service's interface: there is none, and it says so."""

from __future__ import annotations

from sweep.sdk.wandb._errors import CommError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Api:
    """Raises CommError: there is no service to ask."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise CommError(
            "wandb.Api asks the hosted service, and there is none here: read a sweep with `sweep runs ID --json` "
            'or, in Python, sweep.load("ID").runs'
        )


class RunDisabled:
    """A class that older releases returned in the mode `disabled`. Nothing is an instance of it."""
