"""The records of a sweep (`SweepCreated.record`) and of a node (`AgentJoined.record`): plain data, nothing secret.

Large parts are blobs, named by their digest. A key is never renamed or removed: old records must stay readable.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sweep import __version__
from sweep.provenance.code import snapshot
from sweep.provenance.environment import editable_folders, lock_files, packages_record, python_record
from sweep.provenance.hardware import hardware_record
from sweep.provenance.left_out import LeftOut
from sweep.provenance.listing import GitRecord
from sweep.provenance.scrub import known_secrets, scrub, scrub_arguments
from sweep.provenance.tree import digest_bytes, display
from sweep.provenance.variables import environ_record

RECORD_FORMAT = 1

PutBlob = Callable[[bytes], str]
