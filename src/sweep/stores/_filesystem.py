"""Which file system a path lies on, and whether SQLite may be trusted there.

SQLite's locks and its shared memory need one kernel that sees every reader and writer; network file systems do not
give that, and the damage shows only later. So they are refused at once, by name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sweep.stores.base import StoreError

_NETWORK = frozenset(
    """9p afpfs afs beegfs ceph cifs coda davfs drvfs gfs gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs panfs
    pvfs2 smb2 smb3 smbfs vboxsf vmhgfs webdav wekafs""".split()
)
_NETWORK_FUSE = frozenset(
    """beegfs ceph cephfs cvmfs2 davfs davfs2 gcsfuse gfarm2fs glusterfs goofys gpfs juicefs mfs moosefs ossfs prl_fsd
    quobyte rclone s3fs saunafs seaweedfs smbnetfs sshfs vmhgfs-fuse""".split()
)


class Mount(NamedTuple):
    point: str
    kind: str
    """The file system's type as the kernel names it: ext4, nfs4, fuse.sshfs."""
    source: str


def refuse_network(path: Path, mounts: list[Mount] | None = None) -> None:
    """Raise StoreError when `path` (it need not exist yet) lies on a network file system. `mounts`: those of this
    machine unless given; where they cannot be found out, nothing is refused."""
    mount = mount_of(path, read_mounts() if mounts is None else mounts)
    if mount is not None and is_network(mount.kind):
        raise StoreError(
            f"{path} lies on a network file system ({mount.kind}, {mount.source} at {mount.point}), where SQLite loses "
            "data without a word; name a file on a local disk of this machine: --store sqlite:////local/disk/store.db "
            "or SWEEP_STORE; agents on several machines share a store that one of them serves (`sweep store serve`)"
        )


def is_network(kind: str) -> bool:
    """Whether a type of file system shares its files between machines."""
    if kind.startswith("fuse."):
        return kind.removeprefix("fuse.") in _NETWORK_FUSE
    return kind in _NETWORK


def mount_of(path: Path, mounts: list[Mount]) -> Mount | None:
    """The mount that `path` lies on: the deepest one above it and, of several at one point, the last."""
    real = path.resolve()
    above = {str(folder) for folder in (real, *real.parents)}
    found: Mount | None = None
    for mount in mounts:
        if mount.point in above and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def read_mounts() -> list[Mount]:
    """This machine's mounts, empty when they cannot be found out."""
    if sys.platform == "darwin":
        return _mounts_of_macos()
    try:
        return list(parse_mountinfo(Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")))
    except OSError:
        return []


def _mounts_of_macos() -> list[Mount]:
    import subprocess

    try:
        done = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return list(parse_mount_output(done.stdout))


def parse_mountinfo(text: str) -> Iterator[Mount]:
    """Linux: proc_pid_mountinfo(5). `36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/sda rw`."""
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, types = before.split(" "), after.split(" ")
        if separator and len(fields) >= 5 and len(types) >= 2:
            yield Mount(_unescaped(fields[4]), types[0], _unescaped(types[1]))


def _unescaped(field: str) -> str:
    r"""Spaces and their like stand as three octal digits: `\040`."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def parse_mount_output(text: str) -> Iterator[Mount]:
    """macOS: `//user@host/share on /Volumes/share (smbfs, nodev, nosuid)`."""
    for line in text.splitlines():
        match = re.fullmatch(r"(.+?) on (/.*) \(([^,)]+)[^)]*\)", line)
        if match:
            yield Mount(match[2], match[3].strip(), match[1])
