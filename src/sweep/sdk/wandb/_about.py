"""What a run is called and where it is: the properties of `wandb.Run` that only tell."""

from __future__ import annotations

import os

from sweep.sdk.wandb._say import once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from sweep.sdk.wandb._config import Config
    from sweep.sdk.wandb._record import Record
    from sweep.sdk.wandb._settings import Settings

DESCRIBED = {
    "name": "run_name",
    "group": "run_group",
    "tags": "run_tags",
    "notes": "run_notes",
    "project": "project",
    "entity": "entity",
    "job_type": "run_job_type",
    "id": "run_id",
}
"""What a script says about its run, recorded as `wandb/<name>`, and the setting that holds it."""


class About:
    """The part of a run that tells about it."""

    config: Config
    _record: Record
    _settings: Settings
    _step: int

    def _describe(self, said: dict[str, Any]) -> None:
        known = {
            name: list(value) if isinstance(value, (tuple, list, set)) else str(value)
            for name, value in said.items()
            if value not in (None, "", (), [])
        }
        self._record.summary({f"wandb/{name}": value for name, value in known.items()})

    def _set(self, name: str, field: str, value: Any) -> None:
        self._settings.__dict__[field] = value
        self._describe({name: value})

    @property
    def id(self) -> str:
        """The run's ID: the sweep's, for a run that an agent started."""
        if not self._record.standalone:
            return os.environ["SWEEP_RUN_ID"].replace("/", "-")
        given = self._settings.get("run_id")
        return str(given) if given else os.path.basename(self._record.folder)

    @property
    def name(self) -> str:
        """The name that the script gave, or the ID."""
        return str(self._settings.get("run_name") or self.id)

    @name.setter
    def name(self, name: str) -> None:
        self._set("name", "run_name", name)

    @property
    def notes(self) -> str | None:
        """The script's notes."""
        return self._settings.get("run_notes")  # type: ignore[no-any-return]

    @notes.setter
    def notes(self, notes: str) -> None:
        self._set("notes", "run_notes", notes)

    @property
    def tags(self) -> tuple[str, ...]:
        """The script's tags."""
        tags = self._settings.get("run_tags") or ()
        return (tags,) if isinstance(tags, str) else tuple(tags)

    @tags.setter
    def tags(self, tags: Sequence[str]) -> None:
        self._set("tags", "run_tags", tuple(tags))

    @property
    def group(self) -> str:
        """The script's group."""
        return str(self._settings.get("run_group") or "")

    @property
    def job_type(self) -> str:
        """The script's job type."""
        return str(self._settings.get("run_job_type") or "")

    @property
    def project(self) -> str:
        """The script's project."""
        return str(self._settings.get("project") or "uncategorized")

    @property
    def entity(self) -> str:
        """The script's entity."""
        return str(self._settings.get("entity") or "")

    def project_name(self) -> str:
        """The script's project."""
        return self.project

    @property
    def path(self) -> str:
        """`entity/project/id`, without what is empty."""
        return "/".join(part for part in (self.entity, self.project, self.id) if part)

    @property
    def dir(self) -> str:
        """A folder for files of the script: `files` in the run's folder."""
        path = os.path.join(self._record.folder, "files")
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            once("dir", f"cannot create {path}: {error.strerror or error}")
        return path

    @property
    def sync_dir(self) -> str:
        """The run's folder."""
        return self._record.folder

    @property
    def url(self) -> str | None:
        """The run's folder as a `file:` URL."""
        if self.disabled:
            return None
        return "file://" + self._record.folder.replace("%", "%25").replace(" ", "%20")

    project_url = sweep_url = url

    def get_url(self) -> str | None:
        """The run's folder as a `file:` URL."""
        return self.url

    get_project_url = get_sweep_url = get_url

    @property
    def sweep_id(self) -> str | None:
        """The sweep's ID; None without one."""
        return os.environ.get("SWEEP_ID")

    @property
    def step(self) -> int:
        """The step of the next row."""
        return self._step

    @property
    def settings(self) -> Settings:
        """What `init` was given."""
        return self._settings

    @property
    def mode(self) -> str:
        """`offline`, or `disabled`."""
        return "disabled" if self.disabled else "offline"

    @property
    def disabled(self) -> bool:
        """Whether nothing is recorded."""
        return bool(self._settings.get("mode") == "disabled")

    @property
    def offline(self) -> bool:
        """True: there is no service."""
        return not self.disabled

    @property
    def config_static(self) -> dict[str, Any]:
        """A copy of the config."""
        return self.config.as_dict()

    @property
    def _attach_id(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<wandb run {self.id}, recorded by sweep>"
