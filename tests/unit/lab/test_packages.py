# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The repository is laid out, signed and packaged as upstream's, so that the product's real path is tested."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import components, packages, paths
from lab.binaries import Programs
from lab.packages import Package


def test_a_package_has_upstreams_revision_and_name() -> None:
    names = {package.name: package for package in packages.packages("1.35.4", Path("/programs"))}

    assert set(names) == {"kubeadm", "kubelet", "kubectl", "cri-tools", "kubernetes-cni"}
    assert names["kubelet"].file_name == f"kubelet_1.35.4-1.1_{components.architecture()}.deb"
    assert "usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf" in names["kubeadm"].files
    assert names["kubelet"].depends.startswith("kubernetes-cni (>= 1.2.0)")


@pytest.mark.parametrize(("version", "depends"), [("1.31.4", "cri-tools (>= 1.30.0)"), ("1.32.0", "")])
def test_kubeadm_depends_on_what_upstreams_did(version: str, depends: str) -> None:
    kubeadm = packages.packages(version, Path("/programs"))[0]

    assert kubeadm.depends == depends
    assert ("Depends:" in kubeadm.control) is bool(depends)


def test_the_source_is_written_as_upstream_documents_it() -> None:
    line = packages.source_line("http://packages.example.org", "1.35", "/etc/apt/keyrings/k.gpg")

    assert line == ("deb [signed-by=/etc/apt/keyrings/k.gpg] http://packages.example.org/core:/stable:/v1.35/deb/ /\n")


def test_the_release_names_the_indexes_with_their_sums() -> None:
    text = packages.release("1.35", {"Packages": b"abc"}, "Sun, 22 Nov 2026 03:08:02 GMT")

    assert f" {hashlib.sha256(b'abc').hexdigest()} 3 Packages" in text.splitlines()
    assert "Date: Sun, 22 Nov 2026 03:08:02 GMT" in text


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # gpg's sockets do not fit into pytest's long paths.
    short = Path("/tmp") / f"lab-test-{os.getpid()}"
    short.mkdir(mode=0o700)
    monkeypatch.setenv("LAB_CACHE", str(short))
    yield short
    shutil.rmtree(short)


def programs(folder: Path, version: str) -> Programs:
    for name in components.KUBERNETES_PROGRAMS:
        (folder / name).write_text(f"{name} {version}")
    return Programs(components.kubernetes(version), folder, "a test", version)


@pytest.mark.skipif(not (shutil.which("gpg") and shutil.which("dpkg-deb")), reason="needs gpg and dpkg-deb")
def test_a_minor_holds_several_patch_versions_and_is_signed(cache: Path, tmp_path: Path) -> None:
    paths.keys().mkdir()
    packages.make_key()
    for version in ("1.35.4", "1.35.5"):
        packages.build(programs(tmp_path, version))
        assert packages.repository("1.35").manifest() is None, "a new version makes the repository stale"
        packages.build_repository("1.35")

    folder = cache / "repository/core:/stable:/v1.35/deb"
    index = (folder / "Packages").read_text()
    assert index.count("Package: kubeadm\n") == 2
    assert index.count("Package: kubernetes-cni\n") == 1
    for stanza in index.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.strip().splitlines())
        content = (folder / fields["Filename"]).read_bytes()
        assert int(fields["Size"]) == len(content)
        assert fields["SHA256"] == hashlib.sha256(content).hexdigest()
    subprocess.run(["gpgv", "--keyring", paths.repository_key(), folder / "InRelease"], check=True, capture_output=True)
    assert packages.repository("1.35").manifest() is not None


def test_links_and_modes_arrive_in_the_package(tmp_path: Path) -> None:
    package = Package("x", "1-1", "a test", {"usr/bin/x": ("#!/bin/sh\n", 0o755)}, {"opt/cni/bin": "/usr/lib/cni"})
    packages.pack(package, tmp_path / "x.deb")

    listing = subprocess.run(["dpkg-deb", "-c", tmp_path / "x.deb"], check=True, capture_output=True, text=True).stdout
    assert "./opt/cni/bin -> /usr/lib/cni" in listing
    assert any(
        line.startswith("-rwxr-xr-x root/root") and line.endswith("./usr/bin/x") for line in listing.splitlines()
    )
