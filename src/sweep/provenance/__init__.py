"""What a result rests on: code, packages, hardware, variables, recorded so that it can be rebuilt and holds no secret."""

from sweep.provenance.code import CodeRecord, restore, snapshot
from sweep.provenance.environment import interpreter_record, packages_record, python_record
from sweep.provenance.hardware import hardware_record
from sweep.provenance.left_out import LeftOut
from sweep.provenance.listing import GitRecord, Submodule
from sweep.provenance.records import blobs_of, record_node, record_sweep
from sweep.provenance.scrub import known_secrets, scrub, scrub_arguments
from sweep.provenance.shadows import is_file, missing_program_warning, shadow_warning
from sweep.provenance.tree import TreeError, tree_on_disk
from sweep.provenance.urls import strip_user_info
from sweep.provenance.variables import environ_record, launcher_env

__all__ = [
    "CodeRecord",
    "GitRecord",
    "LeftOut",
    "Submodule",
    "TreeError",
    "blobs_of",
    "environ_record",
    "hardware_record",
    "interpreter_record",
    "is_file",
    "known_secrets",
    "launcher_env",
    "missing_program_warning",
    "packages_record",
    "python_record",
    "record_node",
    "record_sweep",
    "restore",
    "scrub",
    "scrub_arguments",
    "shadow_warning",
    "snapshot",
    "strip_user_info",
    "tree_on_disk",
]
