# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Debian packages of the programs, in signed apt repositories laid out like upstream's: one for each minor."""

from __future__ import annotations

import email.utils
import gzip
import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import components, paths, versions
from .artifact import Artifact, digest, load, sha256, write
from .binaries import Programs
from .shell import output, run

RECIPE = "packages 2"
REVISION = "1.1"
CNI_VERSION = "1.7.1"
CONTROL = """Package: {name}
Version: {version}
Architecture: {architecture}
Maintainer: The lab <lab@example.org>
Section: admin
Priority: optional
{relations}Description: {description}
"""
# As upstream's: a first installation enables the kubelet and does not start it; an upgrade restarts nothing.
POSTINST = """#!/bin/sh
set -e
if [ "$1" = configure ] && [ -z "$2" ]; then
    systemctl --no-reload preset kubelet.service >/dev/null 2>&1 || true
fi
"""
POSTRM = """#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
"""


@dataclass(frozen=True)
class Package:
    """:param files: path in the package -> (source, mode); links: path -> target."""

    name: str
    version: str
    description: str
    files: dict[str, tuple[Path | str, int]]
    links: dict[str, str]
    depends: str = ""
    recommends: str = ""

    @property
    def file_name(self) -> str:
        return f"{self.name}_{self.version}_{components.architecture()}.deb"

    @property
    def control(self) -> str:
        relations = f"Depends: {self.depends}\n" if self.depends else ""
        relations += f"Recommends: {self.recommends}\n" if self.recommends else ""
        return CONTROL.format(
            name=self.name,
            version=self.version,
            architecture=components.architecture(),
            relations=relations,
            description=self.description,
        )


def packages(version: str, folder: Path) -> list[Package]:
    """What upstream's repository of this version has, with upstream's dependencies.

    cri-tools and kubernetes-cni are stubs: crictl is not there, and the network plugins are Debian's.
    """
    full, minor = f"{version}-{REVISION}", versions.minor(version)
    unit = "usr/lib/systemd/system"
    return [
        Package(
            "kubeadm",
            full,
            "Command-line utility for administering a Kubernetes cluster",
            {
                "usr/bin/kubeadm": (folder / "kubeadm", 0o755),
                f"{unit}/kubelet.service.d/10-kubeadm.conf": (paths.SOURCES / "10-kubeadm.conf", 0o644),
            },
            {},
            # Upstream dropped it in 1.32.
            depends="" if versions.parse(version) >= (1, 32, 0) else "cri-tools (>= 1.30.0)",
        ),
        Package(
            "kubelet",
            full,
            "Node agent for Kubernetes clusters",
            {
                "usr/bin/kubelet": (folder / "kubelet", 0o755),
                f"{unit}/kubelet.service": (paths.SOURCES / "kubelet.service", 0o644),
                "etc/default/kubelet": ("KUBELET_EXTRA_ARGS=\n", 0o644),
                "etc/kubernetes/manifests/.kubelet-keep": ("", 0o644),
                "var/lib/kubelet/.kubelet-keep": ("", 0o644),
                "DEBIAN/conffiles": ("/etc/default/kubelet\n", 0o644),
                "DEBIAN/postinst": (POSTINST, 0o755),
                "DEBIAN/postrm": (POSTRM, 0o755),
            },
            {},
            depends="kubernetes-cni (>= 1.2.0), mount, util-linux",
            recommends="iptables (>= 1.8.4)",
        ),
        Package(
            "kubectl",
            full,
            "Command-line utility for interacting with a Kubernetes cluster",
            {"usr/bin/kubectl": (folder / "kubectl", 0o755)},
            {},
        ),
        Package("cri-tools", f"{minor}.0-{REVISION}", "Stub of the lab: there is no crictl in it", {}, {}),
        Package(
            "kubernetes-cni",
            f"{CNI_VERSION}-{REVISION}",
            "Stub of the lab: the network plugins are Debian's",
            {},
            {"opt/cni/bin": "/usr/lib/cni"},
            depends="containernetworking-plugins",
        ),
    ]


def pack(package: Package, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".pack-") as name:
        root = Path(name) / "root"
        for inside, (source, mode) in package.files.items():
            path = root / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, Path):
                shutil.copyfile(source, path)
            else:
                path.write_text(source)
            path.chmod(mode)
        for inside, aim in package.links.items():
            (root / inside).parent.mkdir(parents=True, exist_ok=True)
            (root / inside).symlink_to(aim)
        write(root / "DEBIAN/control", package.control)
        for folder in [root, *(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())]:
            folder.chmod(0o755)
        # Not compressed: it is read once or twice and takes a minute to compress.
        run(
            ["dpkg-deb", "-Znone", "--root-owner-group", "--build", root, target],
            env={"SOURCE_DATE_EPOCH": "1767225600"},
        )


def artifact(programs: Programs) -> Artifact:
    version = programs.component.version
    sources = [(paths.SOURCES / name).read_text() for name in ("kubelet.service", "10-kubeadm.conf")]
    described = [(package.control, sorted(package.links.items())) for package in packages(version, Path("/"))]
    recipe = digest(RECIPE, programs.content, sources, described, POSTINST, POSTRM)
    return Artifact(paths.cache() / "packages" / version, recipe)


def build(programs: Programs) -> None:
    """The .deb files of one version."""
    version = programs.component.version

    def into(folder: Path) -> dict[str, Any]:
        for package in packages(version, programs.folder):
            pack(package, folder / package.file_name)
        return {"version": version}

    artifact(programs).make(into)


def base(minor: str) -> str:
    """Where a minor's repository lies under the server's root, as upstream has it."""
    return f"core:/stable:/v{minor}/deb"


def source_line(server: str, minor: str, keyring: str) -> str:
    return f"deb [signed-by={keyring}] {server}/{base(minor)}/ /\n"


def repository(minor: str) -> Artifact:
    """The repository of a minor, with every version of it that there are packages of."""
    names = [f"{folder.name}/{name}" for folder in _folders(minor) for name in (load(folder) or {})["files"]]
    return Artifact(paths.repository() / base(minor), digest(RECIPE, _key_name(), sorted(names), _contents(minor)))


def _folders(minor: str) -> list[Path]:
    found = (paths.cache() / "packages").glob(f"{minor}.*")
    return sorted((path for path in found if load(path) is not None), key=lambda path: versions.parse(path.name))


def _contents(minor: str) -> list[Any]:
    return [
        sorted((name, entry["sha256"]) for name, entry in (load(folder) or {})["files"].items())
        for folder in _folders(minor)
    ]


def build_repository(minor: str) -> None:
    def into(folder: Path) -> dict[str, Any]:
        architecture = components.architecture()
        (folder / architecture).mkdir()
        stanzas = []
        for source in _folders(minor):
            for deb in sorted(source.glob("*.deb")):
                target = folder / architecture / deb.name
                if target.exists():
                    continue  # a stub that several versions share
                os.link(deb, target)
                control = output(["dpkg-deb", "--field", deb])
                stanzas.append(stanza(control, f"{architecture}/{deb.name}", target.stat().st_size, sha256(target)))
        index = "\n".join(stanzas).encode()
        (folder / "Packages").write_bytes(index)
        (folder / "Packages.gz").write_bytes(gzip.compress(index, mtime=0))
        files = {name: (folder / name).read_bytes() for name in ("Packages", "Packages.gz")}
        (folder / "Release").write_text(release(minor, files, email.utils.formatdate(usegmt=True)))
        _sign(folder)
        return {"minor": minor}

    repository(minor).make(into)


def stanza(control: str, name: str, size: int, digest_of_file: str) -> str:
    """One package in a repository's index."""
    return f"{control.rstrip()}\nFilename: {name}\nSize: {size}\nSHA256: {digest_of_file}\n"


def release(minor: str, files: dict[str, bytes], date: str) -> str:
    lines = [
        "Origin: lab",
        f"Label: kubernetes core stable v{minor}",
        f"Date: {date}",
        f"Architectures: {components.architecture()}",
        "SHA256:",
        *(f" {hashlib.sha256(content).hexdigest()} {len(content)} {name}" for name, content in files.items()),
    ]
    return "\n".join(lines) + "\n"


def _key_name() -> str:
    key = paths.repository_key()
    return sha256(key) if key.exists() else ""


def make_key() -> None:
    """The key that signs the repositories: made once, kept in the cache, trusted by the lab's machines only."""
    if paths.repository_key().exists():
        return
    home = _gpg_home()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.chmod(0o700)
    owner = "Packages of the lab <packages@lab.test>"
    try:
        if run([*_gpg(), "--list-secret-keys", owner], check=False).rc:
            run([*_gpg(), "--passphrase", "", "--quick-generate-key", owner, "ed25519", "sign", "never"])
        draft = paths.repository_key().with_suffix(".partial")
        run([*_gpg(), "--output", draft, "--export", owner])
        draft.replace(paths.repository_key())
    finally:
        _end_agent()


def _sign(folder: Path) -> None:
    release_file = folder / "Release"
    try:
        run([*_gpg(), "--clearsign", "--output", folder / "InRelease", release_file])
        run([*_gpg(), "--armor", "--detach-sign", "--output", folder / "Release.gpg", release_file])
        run([*_gpg(), "--armor", "--output", folder / "Release.key", "--export"])
    finally:
        _end_agent()


def _gpg_home() -> Path:
    return paths.keys() / "gnupg"


def _gpg() -> Sequence[str]:
    return ["gpg", "--homedir", str(_gpg_home()), "--batch", "--yes", "--quiet", "--no-tty"]


def _end_agent() -> None:
    # gpg leaves an agent running that nobody needs.
    run(["gpgconf", "--homedir", _gpg_home(), "--kill", "gpg-agent"], check=False)
