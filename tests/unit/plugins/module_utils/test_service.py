# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs a component, found in cgroups, manifests and units."""

from __future__ import annotations

import json
import pathlib

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _service
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import RUNTIME, Home, home_of
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.fake_host import UID, FakeHost, manifest


@pytest.fixture
def fake(tmp_path: pathlib.Path) -> FakeHost:
    return FakeHost(tmp_path)


@pytest.mark.parametrize(
    ("cgroup", "home"),
    [
        (
            f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID}.slice/crio-a.scope\n",
            Home(UID, None),
        ),
        (
            f"5:memory:/kubepods/burstable/pod{UID}/abc\n1:name=systemd:/kubepods/burstable/pod{UID}/abc\n",
            Home(UID, None),
        ),
        (
            "0::/kubepods.slice/kubepods-pod1b4e28ba_2fa1_11d2_883f_0016d3cca427.slice/cri-containerd-a.scope\n",
            Home("1b4e28ba-2fa1-11d2-883f-0016d3cca427", None),
        ),
        (
            f"0::/system.slice/containerd.service/kubepods-burstable-pod{UID}.slice:cri-containerd:a\n",
            Home(UID, None),
        ),
        ("0::/system.slice/etcd.service\n", Home(None, "etcd.service")),
        ("0::/system.slice/system-etcd.slice/etcd@one.service\n", Home(None, "etcd@one.service")),
        (
            "4:cpu:/lab/cp1/system.slice/kubelet.service\n1:name=systemd:/lab/cp1/system.slice/kubelet.service\n",
            Home(None, "kubelet.service"),
        ),
        ("0::/user.slice/user-0.slice/session-3.scope\n", Home(None, None)),
        ("", Home(None, None)),
    ],
)
def test_a_cgroup_tells_the_pod_or_the_unit(cgroup: str, home: Home) -> None:
    assert home_of(cgroup) == home


def test_a_static_pod_is_found_with_its_manifest_and_its_process(fake: FakeHost) -> None:
    path = fake.write("kube-scheduler", "--leader-elect=true")
    pid = fake.start_pod("kube-scheduler", "--leader-elect=true")
    service = fake.host.look("kube-scheduler")
    assert (service.kind, service.state, service.manifests) == ("static_pod", "started", [str(path)])
    assert [process.pid for process in service.processes] == [pid]
    assert service.argv == ["kube-scheduler", "--leader-elect=true"]


def test_a_control_plane_in_this_ones_pods_is_another_clusters(fake: FakeHost) -> None:
    fake.write("etcd")
    fake.start_pod("etcd", uid="1b4e28ba_2fa1_11d2_883f_0016d3cca427")  # an API pod, though on the host's network
    fake.start(["etcd"], f"0::/kubepods.slice/kubepods-pod{UID}.slice/a.scope\n", network="net:[7]")
    assert fake.host.look("etcd").processes == []
    assert fake.host.look("etcd").state == "failed"


def test_a_static_pod_may_bring_a_uid_of_its_own(fake: FakeHost) -> None:
    pid = fake.start_pod("etcd", uid="1b4e28ba_2fa1_11d2_883f_0016d3cca427")
    (fake.logs / "kube-system_etcd-cp1_1b4e28ba-2fa1-11d2-883f-0016d3cca427").mkdir()
    assert fake.pids("etcd") == [pid]


def test_manifests_are_known_by_what_they_say_and_a_copy_beside_is_one_too(fake: FakeHost) -> None:
    fake.write("kube-scheduler", file="my-scheduler.yaml")
    fake.write("kube-scheduler", file="kube-scheduler.yaml.bak")
    fake.write("etcd", file="kube-scheduler-db.yaml")
    (fake.manifests / ".kube-scheduler.yaml.swp").write_text("no kubelet reads this")
    found = [pathlib.Path(path).name for path in fake.host.look("kube-scheduler").manifests]
    assert found == ["kube-scheduler.yaml.bak", "my-scheduler.yaml"]


def test_a_file_that_nothing_can_read_counts_by_its_name_and_hides_no_other(fake: FakeHost) -> None:
    fake.write("etcd")
    (fake.manifests / "kube-scheduler.yaml").write_text("{{ broken")
    assert fake.host.look("etcd").manifests == [str(fake.manifests / "etcd.yaml")]
    scheduler = fake.host.look("kube-scheduler")
    assert (scheduler.kind, scheduler.manifests) == ("static_pod", [str(fake.manifests / "kube-scheduler.yaml")])


def test_the_kubelet_says_where_its_manifests_are(fake: FakeHost, tmp_path: pathlib.Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"kind": "KubeletConfiguration", "staticPodPath": "/etc/elsewhere"}))
    fake.start_unit("kubelet.service", "/usr/bin/kubelet", f"--config={config}")
    host = _service.Host(None, fake.runner, str(fake.proc), str(fake.state), str(fake.logs))
    assert host.manifests_dir() == "/etc/elsewhere"


def test_a_unit_is_found_by_its_process_or_by_its_known_name(fake: FakeHost) -> None:
    fake.start_unit("my-etcd.service", "/opt/bin/etcd", "--name=a")
    service = fake.host.look("etcd")
    assert (service.kind, service.unit and service.unit.name, service.state) == (
        "systemd",
        "my-etcd.service",
        "started",
    )
    fake.units["kube-scheduler.service"] = {"ActiveState": "inactive"}
    service = fake.host.look("kube-scheduler")
    assert (service.kind, service.state) == ("systemd", "stopped")


@pytest.mark.parametrize(
    ("endpoint", "program", "unit"),
    [
        ("unix:///run/containerd/containerd.sock", "containerd", "containerd.service"),
        ("unix:///var/run/crio/crio.sock", "crio", "crio.service"),
        ("unix:///run/cri-dockerd.sock", "cri-dockerd", "cri-docker.service"),
    ],
)
def test_the_runtime_is_the_one_whose_socket_the_kubelet_uses(
    fake: FakeHost, endpoint: str, program: str, unit: str
) -> None:
    fake.start_unit("kubelet.service", "/usr/bin/kubelet", f"--container-runtime-endpoint={endpoint}")
    fake.start_unit(unit, f"/usr/bin/{program}")
    service = fake.host.look(RUNTIME)
    assert (service.state, service.unit and service.unit.name) == ("started", unit)


def test_what_is_not_there_is_absent_and_what_somebody_started_is_nobodys(fake: FakeHost) -> None:
    assert fake.host.look("etcd").state == "absent"
    fake.start(["etcd"], "0::/user.slice/session-3.scope\n")
    assert fake.host.look("etcd").kind == "process"


def test_a_manifest_that_is_not_ours_is_no_pod_of_it() -> None:
    assert not _service.is_pod_of(manifest("haproxy"), "etcd", "/x/etcd.yaml")
    assert _service.is_pod_of({}, "etcd", "/x/etcd.yaml")


def test_who_may_not_look_at_processes_does_not_say_that_there_are_none(fake: FakeHost) -> None:
    (fake.proc / "1" / "ns" / "net").unlink()
    with pytest.raises(CareError, match="needs root"):
        fake.host.look("etcd")


def test_a_unit_that_ended_is_found_by_what_it_starts(fake: FakeHost) -> None:
    pid = fake.start_unit("planner.service", "/usr/local/bin/kube-scheduler", "--v=2")
    fake.start_unit("watcher.service", "/usr/local/bin/watch", "/usr/local/bin/kube-scheduler")
    fake.end(pid)
    fake.units["planner.service"]["ActiveState"] = "failed"
    found = fake.host.look("kube-scheduler")
    assert (found.kind, found.state, found.unit and found.unit.name) == ("systemd", "failed", "planner.service")
    fake.start_unit("other.service", "/opt/kube-scheduler")
    fake.end(fake.next_pid)
    assert fake.host.look("kube-scheduler").kind == "absent", "one of two was guessed"
