# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The process table as people would read it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import time

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _process
from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import Process
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.fake_host import FakeHost


@pytest.mark.parametrize(
    ("argv", "exe", "name", "what"),
    [
        (["/usr/bin/kubelet", "--config=/x"], "/usr/bin/kubelet", "kubelet", "kubelet"),
        (
            ["kube-controller-manager", "--kubeconfig=/x"],
            "/usr/local/bin/kube-controller-manager",
            "kube-controller-manager",
            "kube-controller-manager",
        ),
        (
            ["kubeadm", "upgrade", "apply", "v1.35.4", "--yes"],
            "/usr/bin/kubeadm",
            "kubeadm",
            "kubeadm upgrade apply v1.35.4",
        ),
        (["kubeadm", "join", "--token", "secret"], "/usr/bin/kubeadm", "kubeadm", "kubeadm join"),
        (["/usr/bin/python3.9", "/usr/bin/dnf", "install", "-y", "x"], "/usr/bin/python3.9", "dnf", "dnf install"),
        (
            ["/usr/libexec/platform-python", "/usr/bin/dnf", "makecache"],
            "/usr/libexec/platform-python3.6",
            "dnf",
            "dnf makecache",
        ),
        (["/usr/bin/python3"], "/usr/bin/python3.11", "python3", "python3"),
    ],
)
def test_a_process_is_known_by_its_program_and_told_without_options(
    argv: list[str], exe: str, name: str, what: str
) -> None:
    process = Process(1, exe, argv, 0.0)
    assert process.name == name
    assert process.what == what


def test_a_name_with_spaces_and_brackets_does_not_shift_the_columns() -> None:
    columns = " ".join(str(number) for number in range(4, 22))
    # the 22nd column is the start, in ticks since the boot
    assert _process.started(f"77 (a) b (c) S {columns} 2500 23 24", 1000.0, 100) == 1025.0


def test_busy_names_kubeadm_and_package_tools_but_not_us() -> None:
    table = [
        Process(5, "", ["kubeadm", "upgrade", "node"], 1.0),
        Process(6, "", ["/usr/bin/apt-get", "-y", "install"], 1.0),
        Process(7, "", ["/usr/bin/python3", "/usr/bin/dnf", "update"], 1.0),
        Process(8, "", ["/usr/bin/python3", "/usr/share/unattended-upgrades/unattended-upgrade-shutdown"], 1.0),
        Process(9, "", ["sleep", "kubeadm"], 1.0),
        Process(10, "", ["kubeadm", "version", "-o", "short"], 1.0),
    ]
    assert _process.busy(table, own=7) == [{"pid": 5, "what": "kubeadm upgrade node"}, {"pid": 6, "what": "apt-get"}]


def test_a_living_process_is_read_with_its_start() -> None:
    before = time.time()
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            found = [process for process in _process.processes() if process.pid == child.pid]
            assert [(p.argv, p.name) for p in found] == [(["sleep", "60"], "sleep")]
            assert before - 0.1 <= found[0].started <= time.time() + 0.1
            assert found[0].exe == os.path.realpath(f"/proc/{child.pid}/exe")
        finally:
            child.kill()
    assert _process.read(child.pid) is None


def test_what_a_pod_calls_itself_is_not_believed(tmp_path: pathlib.Path) -> None:
    fake = FakeHost(tmp_path)
    host = fake.start_unit("containerd.service", "/usr/bin/containerd")
    static = fake.start_pod("etcd")
    fake.start_pod("containerd", uid="1b4e28ba_2fa1_11d2_883f_0016d3cca427", age=99.0)
    fake.start_pod("kubeadm", "upgrade", "node", uid="1b4e28ba_2fa1_11d2_883f_0016d3cca427")
    table = list(_process.processes(str(fake.proc), str(fake.logs)))
    assert sorted(process.pid for process in table) == [host, static]
    assert [process.pid for process in _process.named(table, "containerd")] == [host]
    assert _process.busy(table, own=1) == []


def test_a_container_that_lies_in_no_pods_cgroup_is_no_container_runtime_either(tmp_path: pathlib.Path) -> None:
    fake = FakeHost(tmp_path)
    pids = [fake.start_unit(f"{name}.service", f"/usr/bin/{name}") for name in ("containerd", "etcd", "kubelet")]
    (fake.proc / "self" / "ns").mkdir(parents=True, exist_ok=True)
    for pid, namespace in [("self", 1), *zip(pids, (1, 2, 2), strict=True)]:
        (fake.proc / str(pid) / "ns" / "pid").symlink_to(f"pid:[{namespace}]")
    table = _process.processes(str(fake.proc), str(fake.logs))
    assert sorted(process.name for process in table) == ["containerd", "etcd"]
