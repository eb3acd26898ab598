"""SQLite is refused on network file systems, told from mount tables of real machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.stores import StoreError
from sweep.stores._filesystem import (
    is_network,
    mount_of,
    parse_mount_output,
    parse_mountinfo,
    read_mounts,
    refuse_network,
)

MOUNTINFO = r"""22 1 252:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:27 / /proc rw,nosuid - proc proc rw
41 22 0:39 / /home rw,relatime shared:180 - nfs4 filer:/export/home rw,vers=4.2
42 41 252:2 / /home/local rw shared:181 master:2 - xfs /dev/vdb rw
43 22 0:40 / /mnt/My\040Share rw - cifs //server/My\040Share rw
44 22 0:41 / /data rw - ext4 /dev/vdc rw
45 22 0:42 / /data rw - lustre 10.0.0.1@tcp:/data rw
46 22 0:43 / /keys rw - fuse.sshfs ada@host: rw
47 22 0:44 / /sealed rw - fuse.gocryptfs /crypt rw
broken line
48 22
"""

MACOS = """/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
//ada@filer/My Share on /Volumes/My Share (smbfs, nodev, nosuid, mounted by ada)
filer:/export on /Volumes/nfs (nfs)
"""

LINUX_MOUNTS = list(parse_mountinfo(MOUNTINFO))
MAC_MOUNTS = list(parse_mount_output(MACOS))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/x/store.db", "ext4"),
        ("/home/ada/p/.sweep/store.db", "nfs4"),
        ("/home/local/p/store.db", "xfs"),
        ("/home/localized/store.db", "nfs4"),
        ("/mnt/My Share/store.db", "cifs"),
        ("/data/store.db", "lustre"),
        ("/keys/store.db", "fuse.sshfs"),
        ("/sealed/store.db", "fuse.gocryptfs"),
    ],
)
def test_the_deepest_and_latest_mount_counts(path: str, kind: str) -> None:
    mount = mount_of(Path(path), LINUX_MOUNTS)
    assert mount is not None
    assert mount.kind == kind


@pytest.mark.parametrize("path", ["/home/ada/store.db", "/mnt/My Share/a/b", "/data/x", "/keys/x"])
def test_network_file_systems_are_refused(path: str) -> None:
    with pytest.raises(
        StoreError, match=r"lies on a network file system .*name a file on a local disk.*SWEEP_STORE"
    ):
        refuse_network(Path(path), LINUX_MOUNTS)


@pytest.mark.parametrize("path", ["/x", "/home/local/x", "/sealed/x"])
def test_local_file_systems_are_not(path: str) -> None:
    refuse_network(Path(path), LINUX_MOUNTS)


def test_the_message_names_the_share() -> None:
    with pytest.raises(StoreError, match=r"\(nfs4, filer:/export/home at /home\)"):
        refuse_network(Path("/home/ada/store.db"), LINUX_MOUNTS)


def test_mounts_of_macos() -> None:
    kinds = {mount.point: mount.kind for mount in MAC_MOUNTS}
    assert kinds["/"] == "apfs"
    assert kinds["/Volumes/My Share"] == "smbfs"
    assert kinds["/Volumes/nfs"] == "nfs"
    with pytest.raises(StoreError, match="network"):
        refuse_network(Path("/Volumes/My Share/store.db"), MAC_MOUNTS)
    refuse_network(Path("/Users/ada/store.db"), MAC_MOUNTS)


def test_a_link_into_a_share_is_followed(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "share")
    share = rf"50 1 0:50 / {tmp_path.resolve()}/share rw - beegfs beegfs_nodev rw"
    mounts = [*LINUX_MOUNTS, *parse_mountinfo(share)]
    refuse_network(tmp_path / "store.db", mounts)
    with pytest.raises(StoreError, match="beegfs"):
        refuse_network(tmp_path / "link" / "deep" / "store.db", mounts)


def test_without_a_mount_table_nothing_is_refused() -> None:
    refuse_network(Path("/home/ada/store.db"), [])


@pytest.mark.parametrize("kind", ["nfs", "smb3", "9p", "gpfs", "drvfs", "fuse.rclone", "fuse.ceph"])
def test_kinds_shared_between_machines(kind: str) -> None:
    assert is_network(kind)


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "tmpfs", "overlay", "zfs", "fuse.portal", "rclone"])
def test_kinds_of_one_machine(kind: str) -> None:
    assert not is_network(kind)


def test_this_machine_has_mounts() -> None:
    assert any(mount.point == "/" for mount in read_mounts())
