# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_tools as tools
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import parse


def program(path: Path, mode: int = 0o755) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/true\n")
    path.chmod(mode)
    return str(path)


def proc(tmp_path: Path, exe: str) -> str:
    """A process table with etcd as process 7, whose container has its own files."""
    (tmp_path / "proc" / "7").mkdir(parents=True, exist_ok=True)
    os.symlink(exe, tmp_path / "proc" / "7" / "exe")
    return str(tmp_path / "proc")


@pytest.mark.parametrize("exe", ["/usr/local/bin/etcd", "/opt/etcd-3.6/etcd"])
def test_the_program_beside_etcd_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exe: str) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(program(tmp_path / "host" / "etcdctl")))
    table = proc(tmp_path, exe)
    beside = program(tmp_path / "proc" / "7" / "root" / os.path.dirname(exe)[1:] / "etcdctl")
    assert tools.find_tool("etcdctl", 7, table) == beside
    os.chmod(beside, 0o644)
    assert tools.find_tool("etcdctl", 7, table) == str(tmp_path / "host" / "etcdctl")


def test_what_others_may_write_is_not_run_as_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(program(tmp_path / "host" / "etcdctl")))
    program(tmp_path / "proc" / "7" / "root" / "home" / "me" / "etcdctl", 0o757)
    assert tools.find_tool("etcdctl", 7, proc(tmp_path, "/home/me/etcd")) == str(tmp_path / "host" / "etcdctl")


def test_without_etcd_the_hosts_own_is_taken_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(program(tmp_path / "host" / "etcdutl-of-this-test")))
    assert tools.find_tool("etcdutl-of-this-test", None) == str(tmp_path / "host" / "etcdutl-of-this-test")
    assert tools.find_tool("etcdctl-of-nobody", None) is None
    assert tools.find_tool("etcdctl-of-nobody", 4, str(tmp_path)) is None, "a process that is gone"


class Ctr:
    """containerd's client with these images; mounting one shows these files."""

    def __init__(self, images: str, files: tuple[str, ...] = (), rc: int = 0) -> None:
        self.images, self.files, self.rc = images, files, rc
        self.mounted: Optional[str] = None
        self.ran: list[str] = []

    def __call__(self, argv: list[str], **_more: Any) -> Done:
        words = argv[4:]
        self.ran.append(" ".join(words[:2]))
        if words[0] == "mount" and self.rc == 0:
            self.mounted = words[2]
            for file in self.files:
                program(Path(words[2]) / file)
        if words[0] == "unmount":
            assert words[-1] == self.mounted
            for file in self.files:
                (Path(words[-1]) / file).unlink()
            for directory in sorted(Path(words[-1]).rglob("*"), reverse=True):
                directory.rmdir()
            self.mounted = None
        return Done(argv, self.rc if words[0] == "mount" else 0, self.images, "")


NAMES = ("coredns/coredns:v1.12.1", "etcd:3.6.10-0", "etcd:3.6.5-0")
IMAGES = "".join(f"registry.example.org/{name}\n" for name in NAMES) + "sha256:0\n"


def test_the_program_comes_out_of_the_newest_image_and_nothing_stays_mounted() -> None:
    ctr = Ctr(IMAGES, ("usr/local/bin/etcdutl",))
    with tools.tool_of_image("etcdutl", None, ctr) as path:
        assert path and path.endswith("/usr/local/bin/etcdutl") and os.path.isfile(path)
        directory = ctr.mounted
    assert ctr.ran == ["list --quiet", "mount registry.example.org/etcd:3.6.10-0", "unmount --rm"]
    assert ctr.mounted is None and directory and not os.path.exists(directory)


@pytest.mark.parametrize(
    ("minor", "image"), [("3.6.0", "etcd:3.6.10-0"), ("3.5.24", "etcd:3.5.24-0"), ("3.4.3", "etcd:3.6.10-0")]
)
def test_an_image_of_the_wanted_minor_comes_first(minor: str, image: str) -> None:
    ctr = Ctr(IMAGES + "registry.example.org/etcd:3.5.24-0\nregistry.example.org/etcd:3.5.9-0\n")
    with tools.tool_of_image("etcdutl", parse(minor), ctr):
        assert ctr.ran[1] == f"mount registry.example.org/{image}"


EVIL = "evil.example.org/etcd:3.6.99\n"


@pytest.mark.parametrize(
    ("ours", "there", "image"),
    [
        (["registry.example.org/etcd:3.6.5-0"], IMAGES + EVIL, "registry.example.org/etcd:3.6.10-0"),
        (["registry.example.org/kube-apiserver:v1.35.4@sha256:0"], IMAGES + EVIL, "registry.example.org/etcd:3.6.10-0"),
        ([], IMAGES + EVIL, None),
        ([], "registry.k8s.io/etcd:3.6.5-0\n" + EVIL, "registry.k8s.io/etcd:3.6.5-0"),
        (["localhost:5000/k8s/etcd"], "localhost:5000/k8s/etcd:3.6.5-0\n" + EVIL, "localhost:5000/k8s/etcd:3.6.5-0"),
    ],
)
def test_an_image_that_only_is_called_etcd_is_not_run(ours: list[str], there: str, image: Optional[str]) -> None:
    ctr = Ctr(there)
    with tools.tool_of_image("etcdutl", None, ctr, ours):
        assert ctr.ran[1:] == ([f"mount {image}"] if image else [])


@pytest.mark.parametrize(
    "ctr", [Ctr("registry.example.org/pause:3.10\n"), Ctr(IMAGES, rc=1), Ctr(IMAGES, ("usr/local/bin/etcdctl",))]
)
def test_an_image_without_the_program_is_no_help(ctr: Ctr) -> None:
    with tools.tool_of_image("etcdutl", None, ctr) as path:
        assert path is None
    assert ctr.mounted is None


def test_work_that_is_done_is_not_lost_when_the_image_cannot_be_unmounted() -> None:
    ctr = Ctr(IMAGES, ("usr/local/bin/etcdutl",))

    def busy(argv: list[str], **more: Any) -> Done:
        return Done(argv, 1, "", "device or resource busy") if "unmount" in argv else ctr(argv, **more)

    with tools.tool_of_image("etcdutl", None, busy) as path:
        assert path
    assert ctr.mounted
    shutil.rmtree(ctr.mounted)


def test_a_host_without_containerd_is_no_help() -> None:
    def missing(argv: list[str], **_more: Any) -> Done:
        raise CareError("ctr cannot be run")

    with tools.tool_of_image("etcdutl", None, missing) as path:
        assert path is None


@pytest.mark.parametrize(
    ("out", "version"),
    [("etcdutl version: 3.6.5\nAPI version: 3.6\n", "3.6.5"), ("etcdctl version: 3.4.30\n", "3.4.30"), ("hello", None)],
)
def test_versions_are_read_from_the_program(out: str, version: Optional[str]) -> None:
    def say(argv: list[str], **_more: Any) -> Done:
        return Done(argv, 0, out, "")

    if version:
        assert tools.tool_version("/x", say) == version
    else:
        with pytest.raises(CareError, match="does not say its version"):
            tools.tool_version("/x", say)


def test_etcdctl_is_told_by_variables_only_what_is_known() -> None:
    assert tools.ctl_environment(Access("https://[::1]:2379", "/ca", None, None)) == {
        "ETCDCTL_API": "3",
        "ETCDCTL_ENDPOINTS": "https://[::1]:2379",
        "ETCDCTL_CACERT": "/ca",
    }
