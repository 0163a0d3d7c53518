# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Which files make a machine this master, and which of them may leave it: read only."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _kubelet, _restore_hold
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_about import host_path
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import settings, written_flags
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import COMPONENTS, container_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import Host, Service, manifest_files
from ansible_collections.clustercare.kubeadm.plugins.module_utils._unit_command import Command, read_command

TREES = ("/etc/kubernetes", "/var/lib/kubelet/pki")
SKIPPED = ("/etc/kubernetes/tmp",)  # what kubeadm kept of earlier upgrades, copies of etcd's data among it
KUBELET_FILES = (_kubelet.CONFIG_FILE, _kubelet.FLAGS_FILE, "/var/lib/kubelet/instance-config.yaml")
BIGGEST = 8 << 20  # what has more is no configuration
MOST = 128 << 20  # all of it is held in memory
_PACKAGED = ("/lib/", "/usr/lib/")  # comes with the package, of whatever version is installed then
_PUBLIC = (b"-----BEGIN CERTIFICATE-----", b"-----BEGIN PUBLIC KEY-----", b"-----BEGIN RSA PUBLIC KEY-----")
_SECRET = re.compile(
    rb"PRIVATE KEY|client-key-data"
    # As a setting, as a part of a longer name, or as the name of a variable whose value comes next.
    rb"|(?i:password|passwd|secret|(?<!cluster-)(?<!cluster_)token)\w*[\"']?,?\s*(?:[:=]|[\"']?value[\"']?:)"
    rb"|://[^/\s\"'@]+:[^/\s\"'@]+@"
)


class Entry(NamedTuple):
    """One thing in an archive; ``name`` is its place there, ``target`` where a link points."""

    name: str
    kind: str  # file, link, directory
    mode: int = 0o600
    uid: int = 0
    gid: int = 0
    owner: str = ""
    group: str = ""
    mtime: int = 0
    content: bytes = b""
    target: str = ""
    private: bool = False


class Wanted(NamedTuple):
    """Where to look. ``plain`` are files of a kind that holds no secret, as long as none looks out of them."""

    trees: list[str]
    files: list[str]
    plain: set[str]


class Found(NamedTuple):
    """What is there, by path, and sentences on what is not in it."""

    entries: dict[str, Entry]
    left_out: list[str]


def is_private(content: bytes, plain: bool) -> bool:
    """Whether a file must not leave the host unasked: all of which it is not known that it holds no secret."""
    return bool(_SECRET.search(content)) or not (plain or content.startswith(_PUBLIC))


# --- where to look


def unit_files(unit: str, runner: Runner) -> list[str]:
    """The files that make a unit: its own, its drop-ins, its environment files."""
    shown = runner(["systemctl", "show", unit, "--property", "FragmentPath,DropInPaths,EnvironmentFiles"])
    found = _kubelet.parse_unit(shown.out)
    return [path for path in (found.fragment, *found.drop_ins, *found.environment_files) if path]


def named_files(service: Service, command: Optional[Command]) -> list[str]:
    """The files that a component is told to read, by its flags or its environment; logs are written, not read."""
    argv = service.argv or (command.argv if command else [])
    values = [*settings([], command.environment if command else {}).items(), *written_flags(argv)]
    words = [word for flag, value in values if "log" not in flag for word in value.split(",")]
    container = container_of(service.pod, service.name)
    paths = [host_path(service.pod, container, word) for word in words if word.startswith("/")]
    return [path for path in paths if os.path.isfile(path)]


def look(host: Host, extra: Sequence[str]) -> Wanted:
    """Where this master's files are.

    :param extra: files and directories that the user names.
    :raises CareError: one of them is not there.
    """
    extra = [os.path.normpath(path) for path in extra]
    for path in extra:
        if not os.path.isabs(path) or not os.path.exists(path):
            raise CareError(f"There is no {path} on this host (option paths): name files and directories, whole.")
    manifests = host.manifests_dir()
    trees = [*TREES, manifests, *(path for path in extra if os.path.isdir(path))]
    files = [*KUBELET_FILES, *(path for path in extra if not os.path.isdir(path))]
    plain = {*KUBELET_FILES, *manifest_files(manifests)}
    for name in (*COMPONENTS, "kubelet"):
        service = host.look(name)
        units = [service.unit.name] if service.unit else []
        of_units = [path for unit in units for path in unit_files(unit, host.runner)]
        if name == "kubelet":
            of_units += _kubelet.sources(_kubelet.look_at_unit(host.runner))
        of_units = [path for path in of_units if os.path.basename(path) != _restore_hold.NAME]
        plain.update(of_units, service.parked)
        command = read_command(units[0], host.runner) if units else None
        files += [*of_units, *service.parked, *named_files(service, command)]
    return Wanted(
        list(dict.fromkeys(trees)),
        [path for path in dict.fromkeys(files) if not path.startswith(_PACKAGED)],
        plain,
    )


# --- what is there


def _name(lookup: str, number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name if lookup == "user" else grp.getgrgid(number).gr_name
    except KeyError:
        return ""


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(BIGGEST + 1)


def entry_of(path: str, plain: bool) -> Optional[Entry]:
    """One path as it lies there; None for what cannot be kept: sockets, pipes, devices, too big files.

    :raises CareError: it is there and cannot be read.
    """
    try:
        about = os.lstat(path)
        link, content = "", b""
        if stat.S_ISLNK(about.st_mode):
            kind, link = "link", os.readlink(path)
        elif stat.S_ISDIR(about.st_mode):
            kind = "directory"
        elif stat.S_ISREG(about.st_mode) and about.st_size <= BIGGEST:
            kind, content = "file", _read(path)
        else:
            return None
    except OSError as error:
        raise CareError(f"{path} cannot be read: {error.strerror}. Nothing was saved of this host's files.") from error
    return Entry(
        name="host" + path,
        kind=kind,
        # The mode of a link means nothing.
        mode=0o777 if link else stat.S_IMODE(about.st_mode),
        uid=about.st_uid,
        gid=about.st_gid,
        owner=_name("user", about.st_uid),
        group=_name("group", about.st_gid),
        mtime=int(about.st_mtime),
        content=content,
        target=link,
        private=kind == "file" and is_private(content, plain),
    )


def walk(tree: str) -> Iterator[str]:
    """A tree's own path and all below it; no link is followed."""
    if os.path.lexists(tree):
        yield tree
    if os.path.islink(tree):
        return
    for folder, folders, files in os.walk(tree):
        folders[:] = sorted(name for name in folders if os.path.join(folder, name) not in SKIPPED)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        yield from (os.path.join(folder, name) for name in sorted([*folders, *files]))
        folders[:] = [name for name in folders if name not in links]


def gather(wanted: Wanted) -> Found:
    """Read it all. A link is kept as a link; only where a component is told to read one, its file is kept as well."""
    paths = {path for tree in wanted.trees for path in walk(tree)}
    for path in wanted.files:
        if os.path.isfile(path):
            paths.update([path, os.path.realpath(path)])
    entries: dict[str, Entry] = {}
    left_out = []
    size = 0
    for path in sorted(paths):
        try:
            entry = entry_of(path, path in wanted.plain or os.path.realpath(path) in wanted.plain)
        except CareError:
            if not os.path.lexists(path):
                continue  # gone meanwhile, as a certificate's old file when it is renewed
            raise
        if entry is None:
            left_out.append(f"{path} is no file of a configuration (a socket, a device, or over {BIGGEST >> 20} MiB).")
        else:
            entries[path] = entry
            size += len(entry.content)
        if size > MOST:
            raise CareError(
                f"The files to save have more than {MOST >> 20} MiB up to {path}, which is more than a configuration "
                "has: move away what does not belong there, or name less (option paths). Nothing was saved."
            )
    for path, entry in entries.items():
        target = os.path.realpath(path)
        if entry.kind == "link" and os.path.exists(path) and target not in entries:
            left_out.append(f"{path} is a link to {target}, which is not saved: name that with option paths.")
    return Found(entries, left_out)
