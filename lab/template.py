# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The disk that machines are snapshots of: Debian, containerd, one version's packages, all images wanted soon."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import debian, images, packages, paths, pool, versions
from .addresses import PACKAGES_PORT
from .artifact import digest, load, write
from .binaries import Programs
from .errors import LabError
from .progress import Progress, step
from .remote import USER
from .shell import run

RECIPE = "template 1"
PACKAGES_SERVER = f"http://packages.lab:{PACKAGES_PORT}"
KEYRING = "/etc/apt/keyrings/kubernetes-apt-keyring.gpg"
KUBERNETES_PACKAGES = ("kubeadm", "kubelet", "kubectl")
DEBIAN_PACKAGES = (
    "ca-certificates",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "curl",
    "dbus",
    "ebtables",
    "etcd-client",
    "ethtool",
    "iproute2",
    "iptables",
    "iputils-ping",
    "kmod",
    "mount",
    "netbase",
    "nftables",
    "openssh-server",
    "procps",
    "python3-apt",
    "python3-minimal",
    "runc",
    "socat",
    "sudo",
    "systemd",
    "systemd-sysv",
)
# A machine has no console and no devices of its own, and reaches no mirror. logind stays: reboot needs it.
MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "getty.target",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
)
FILES: dict[str, tuple[str, int]] = {
    "etc/apt/sources.list": ("", 0o644),
    "etc/apt/apt.conf.d/90lab": ('Acquire::Languages "none";\n', 0o644),
    "etc/hostname": ("machine\n", 0o644),
    "etc/machine-id": ("", 0o444),
    # An address for documentation, which nobody has: CoreDNS does not start without a name server.
    "etc/resolv.conf": ("nameserver 192.0.2.53\noptions timeout:1 attempts:1\n", 0o644),
    "etc/ssh/sshd_config.d/lab.conf": ("PermitRootLogin no\nPasswordAuthentication no\nUseDNS no\n", 0o644),
    f"etc/sudoers.d/{USER}": (f"{USER} ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440),
    "etc/systemd/journald.conf.d/lab.conf": ("[Journal]\nStorage=persistent\nSystemMaxUse=64M\n", 0o644),
}
CONTAINERD_UNIT = "[Service]\nExecStart=\nExecStart=/usr/local/bin/containerd\n"
# Mounts and processes of what runs inside vanish with its namespaces; without a network nothing leaves it.
CHROOT = """set -eu
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
mount -t tmpfs -o mode=0755 tmpfs "$0/run"
mount -o bind,ro "$1" "$0/mnt"
root=$0
shift
exec chroot "$root" "$@"
"""


def template(version: str) -> Path:
    """The template of machines that have this version's packages, to be taken a snapshot of.

    The pool must be held (pool.hold). There are no SSH host keys in it and no machine id: they are each machine's own.
    """
    version = versions.plain(version)
    name = _prepared().get(version)
    if name is None or not (paths.templates() / name).is_dir():
        raise LabError(f"Nothing is prepared for Kubernetes {version}.", f"lab/lab prepare --kubernetes {version}")
    return paths.templates() / name


def later(version: str, others: Sequence[str]) -> list[str]:
    """Those versions whose images a machine of this version may be upgraded to: up to two minors later."""
    own = versions.parse(version)
    found = [other for other in others if own <= versions.parse(other) and versions.parse(other)[1] <= own[1] + 2]
    return sorted(found, key=versions.parse)


def recipe(version: str, containerd: Programs | None = None) -> str:
    """What decides about a template; everything it is made of must be in the cache by now."""
    return digest(
        RECIPE,
        version,
        debian.file_system("machine", "minbase", DEBIAN_PACKAGES).recipe,
        (load(paths.cache() / "packages" / version) or {}).get("recipe"),
        [(other, (load(paths.images() / other) or {}).get("recipe")) for other in _image_versions(version)],
        paths.repository_key().read_bytes().hex(),
        paths.ssh_key().with_suffix(".pub").read_text(),
        [(paths.SOURCES / name).read_text() for name in ("containerd.toml", "import-images")],
        [KUBERNETES_PACKAGES, MASKED, FILES, PACKAGES_SERVER, KEYRING, CHROOT],
        *([CONTAINERD_UNIT, containerd.content] if containerd else []),
    )


def is_made(version: str, containerd: Programs | None = None) -> bool:
    """Whether the template is there and up to date; known without mounting the pool."""
    return _prepared().get(version) == f"{version}-{recipe(version, containerd)}"


def make_ssh_key() -> None:
    """The key of the machines' user: made once."""
    key = paths.ssh_key()
    if not key.exists():
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", key])


def make(version: str, progress: Progress, containerd: Programs | None = None) -> None:
    """Make the template of a version; the pool must be held.

    :param containerd: another one than Debian's.
    """
    archive = debian.make_file_system("machine", "minbase", DEBIAN_PACKAGES, progress)
    target = paths.templates() / f"{version}-{recipe(version, containerd)}"
    draft = paths.templates() / f".{version}"
    paths.templates().mkdir(parents=True, exist_ok=True)
    for old in (target, draft):
        if old.exists():
            pool.delete(old)
    with step(progress, f"machine template {version}"):
        run(["btrfs", "subvolume", "create", draft])
        run(["tar", "-C", draft, "--numeric-owner", "-xpf", archive])
        _configure(draft, version)
        _install(draft, version)
        if containerd:
            _replace_containerd(draft, containerd)
        progress(f"machine template {version}: importing images of {', '.join(_image_versions(version))}")
        _import(draft, version)
        run(["btrfs", "filesystem", "sync", draft])
        run(["btrfs", "property", "set", "-ts", draft, "ro", "true"])
        draft.rename(target)
    _record(version, target.name)
    for old in paths.templates().glob(f"{version}-*"):
        if old != target:
            pool.delete(old)


def _configure(root: Path, version: str) -> None:
    for name, (text, mode) in FILES.items():
        write(root / name, text, mode)
    keyring = root / KEYRING.lstrip("/")
    keyring.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(paths.repository_key(), keyring)
    names = images.load_names(version)
    write(
        root / "etc/containerd/config.toml",
        (paths.SOURCES / "containerd.toml").read_text().replace("@PAUSE@", names["pause"]),
    )
    # It made dpkg fast while Debian was installed; machines write as carefully as real ones.
    (root / "etc/dpkg/dpkg.cfg.d/99mmdebstrap").unlink(missing_ok=True)
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    units = root / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    _inside(root, paths.SOURCES, ["useradd", "--create-home", "--shell", "/bin/bash", USER])
    home = root / "home" / USER
    write(home / ".ssh/authorized_keys", paths.ssh_key().with_suffix(".pub").read_text(), 0o600)
    (home / ".ssh").chmod(0o700)
    _inside(root, paths.SOURCES, ["chown", "-R", f"{USER}:", f"/home/{USER}/.ssh"])


def _install(root: Path, version: str) -> None:
    """Through apt and the signed repository, as people do it."""
    source = root / "etc/apt/sources.list.d/kubernetes.list"
    minor = versions.minor(version)
    write(source, packages.source_line("copy:/mnt", minor, KEYRING))
    quiet = ["-qq", "-o", "APT::Sandbox::User=root", "-o", "Dpkg::Options::=--force-unsafe-io"]
    wanted = [f"{name}={version}-{packages.REVISION}" for name in KUBERNETES_PACKAGES]
    for words in (
        ["apt-get", *quiet, "update"],
        ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *quiet, "install", "--no-install-recommends", *wanted],
        ["apt-mark", "hold", *KUBERNETES_PACKAGES],
        ["apt-get", "clean"],
    ):
        _inside(root, paths.repository(), words)
    write(source, packages.source_line(PACKAGES_SERVER, minor, KEYRING))
    for stale in (root / "var/lib/apt/lists").glob("*_*"):
        stale.unlink()


def _replace_containerd(root: Path, programs: Programs) -> None:
    """Debian's stays installed, and is not the one that is started."""
    for program in programs.component.files:
        shutil.copy(programs.path(program), root / "usr/local/bin" / program)
    write(root / "etc/systemd/system/containerd.service.d/lab.conf", CONTAINERD_UNIT)


def _import(root: Path, version: str) -> None:
    """Without starting the machine: only its containerd runs, in namespaces of its own."""
    archives = [f"/mnt/{other}/{name}" for other in _image_versions(version) for name in images.load_files(other)]
    script = (paths.SOURCES / "import-images").read_text()
    _inside(root, paths.images(), ["sh", "-c", script, "import-images", *archives])


def _inside(root: Path, visible: Path, words: Sequence[str]) -> None:
    """Run a command in the template's root, with one folder of the host readable at /mnt."""
    unshare = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
    # The path comes from the machine that is made, not from this host's root user.
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    run([*unshare, "sh", "-c", CHROOT, root, visible, *words], env=env, timeout=900)


def _image_versions(version: str) -> list[str]:
    whole = [folder.name for folder in paths.images().glob("1.*") if load(folder) is not None]
    return later(version, whole)


def _prepared() -> dict[str, str]:
    """Version -> name of its template, as recorded for this very pool."""
    try:
        found: dict[str, Any] = json.loads((paths.cache() / "prepared.json").read_text())
        if found["pool"] == pool.identity():
            return dict(found["templates"])
    except (OSError, ValueError, KeyError):
        pass
    return {}


def _record(version: str, name: str) -> None:
    found = {"pool": pool.identity(), "templates": {**_prepared(), version: name}}
    write(paths.cache() / "prepared.json", json.dumps(found, indent=1) + "\n")
