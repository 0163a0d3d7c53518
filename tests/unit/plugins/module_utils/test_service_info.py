# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is told of components, from files, logs and the API's answers."""

from __future__ import annotations

import os
import pathlib
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_discovery, _kubelet, _service_info
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_info import Describer
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_probe import Prober
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.fake_host import UID, FakeHost
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.test_certificate import KUBELET

NOW = 1_795_500_000.0


@pytest.mark.parametrize(
    ("holder", "renewed", "started", "leads"),
    [
        ("cp1_4f", "2026-11-24T05:59:55.123456Z", NOW - 100, True),
        ("cp1_4f", "2026-11-24T05:59:30Z", NOW - 100, False),  # expired: held by one that is gone
        ("cp1_4f", "2026-11-24T05:59:55Z", NOW - 2, False),  # by the process before this one
        ("cp12_4f", "2026-11-24T05:59:55Z", NOW - 100, False),
        (None, None, NOW - 100, False),
    ],
)
def test_a_lease_tells_the_leader(holder: Optional[str], renewed: Optional[str], started: float, leads: bool) -> None:
    lease = {"spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15}}
    assert _service_info.leads(lease, "cp1", started, NOW) is leads


@pytest.mark.parametrize(
    ("names", "restarts"),
    [
        (["0.log"], 0),
        (["3.log", "4.log", "4.log.20261124-055900"], 4),
        (["9.log", "10.log"], 10),
        ([], None),
        (["x"], None),
    ],
)
def test_log_files_number_the_restarts(names: list[str], restarts: Optional[int]) -> None:
    assert _service_info.restarts_in(names) == restarts


def test_a_certificate_tells_when_it_ends() -> None:
    row = _service_info.certificate_row("/x.crt", KUBELET, NOW)
    assert row == {"file": "/x.crt", "not_after": "2126-10-29T03:23:49Z", "days_left": 36497}
    assert _service_info.certificate_row("/x.crt", "nothing", NOW) is None


class World:
    def __init__(self, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake = FakeHost(root)
        self.problems: dict[str, str] = {}
        self.api: dict[str, dict[str, Any]] = {}
        monkeypatch.setattr(Prober, "problem", lambda _prober, service: self.problems.get(service.name))
        monkeypatch.setattr(Describer, "ask_api", lambda _describer, path: self.api.get(path))

    def look(self, name: str) -> dict[str, Any]:
        prober = Prober(self.fake.host, "/x", Access("", None, None, None))
        return Describer(prober).describe([name])[name]

    def logs(self, **texts: str) -> None:
        folder = self.fake.logs / f"kube-system_kube-scheduler-cp1_{UID}" / "kube-scheduler"
        folder.mkdir(parents=True)
        for name, text in texts.items():
            (folder / f"{name[1:]}.log").write_text(text)


@pytest.fixture
def world(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_a_static_pod_is_told_whole(world: World) -> None:
    path = world.fake.write("kube-scheduler")
    pid = world.fake.start_pod("kube-scheduler", age=60)
    world.logs(_1="2026-11-24T05:00:00Z stderr F it broke\n", _2="")
    row = world.look("kube-scheduler")
    assert row["state"] == "started" and row["kind"] == "static_pod" and row["manifests"] == [str(path)]
    assert (row["pid"], row["version"], row["current"], row["restarts"]) == (pid, "1.34.4", True, 2)
    assert 58 <= row["uptime"] <= 62
    assert (row["healthy"], row["problem"], row["leader"]) == (True, None, None)
    assert row["last_exit"] == {"reason": None, "code": None, "at": None, "last_words": "2026-11-24T05:00:00Z it broke"}


def test_the_api_knows_how_the_last_run_ended_unless_it_is_behind(world: World) -> None:
    world.fake.write("kube-scheduler")
    world.fake.start_pod("kube-scheduler")
    world.logs(_1="x stderr F bye\n", _2="")
    ended = {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-11-24T05:00:00Z"}
    status = {"containerStatuses": [{"name": "kube-scheduler", "lastState": {"terminated": ended}}]}
    world.api["/api/v1/namespaces/kube-system/pods/kube-scheduler-cp1"] = {"status": status}
    log = world.fake.logs / f"kube-system_kube-scheduler-cp1_{UID}" / "kube-scheduler" / "1.log"
    os.utime(log, (1_795_496_400, 1_795_496_400))  # 05:00:00
    told = world.look("kube-scheduler")["last_exit"]
    assert (told["reason"], told["code"], told["last_words"]) == ("OOMKilled", 137, "x bye")
    os.utime(log, (1_795_500_000, 1_795_500_000))
    told = world.look("kube-scheduler")["last_exit"]
    assert (told["reason"], told["code"], told["last_words"]) == (None, None, "x bye")


def test_ill_failed_stopped_and_absent_are_told_apart(world: World) -> None:
    world.fake.write("kube-scheduler")
    row = world.look("kube-scheduler")
    assert (row["state"], row["healthy"], row["problem"]) == ("failed", False, "it should run and does not")
    world.fake.start_pod("kube-scheduler")
    world.problems["kube-scheduler"] = "/healthz answers 500"
    row = world.look("kube-scheduler")
    assert (row["state"], row["healthy"], row["problem"]) == ("started", False, "/healthz answers 500")
    parked = world.fake.state / "services" / "etcd"
    parked.mkdir(parents=True)
    world.fake.write("etcd").rename(parked / "etcd.yaml")
    row = world.look("etcd")
    assert (row["state"], row["healthy"], row["leader"], row["kind"]) == ("stopped", None, False, "static_pod")
    row = world.look("kube-apiserver")
    assert (row["state"], row["healthy"], row["kind"], row["certificates"]) == ("absent", None, "absent", [])


def test_a_unit_tells_its_version_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kubelet, "is_roots", lambda _path: True)
    world.fake.start_unit("etcd.service", "/usr/bin/etcd")
    row = world.look("etcd")
    assert (row["kind"], row["unit"], row["restarts"], row["last_exit"]) == ("systemd", "etcd.service", 0, None)
    assert [f"/proc/{row['pid']}/exe", "--version"] in world.fake.argvs


def test_the_certificates_of_an_etcd_are_found_wherever_its_settings_are(
    world: World, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(tmp_path / name) for name in ("flag.crt", "file.crt")]
    for path in paths:
        pathlib.Path(path).write_text(KUBELET)
    world.fake.start_unit("etcd.service", "/usr/bin/etcd", f"--cert-file={paths[0]}")
    world.fake.systemctl(["systemctl", "stop", "etcd.service"])
    row = world.look("etcd")
    assert (row["state"], [each["file"] for each in row["certificates"]]) == ("stopped", paths[:1])
    world.fake.start_unit("etcd.service", "/usr/bin/etcd", "--config-file=/etc/etcd.yaml")
    monkeypatch.setattr(_etcd_discovery, "read_flags", lambda _path, _runner: {"cert-file": paths[1]})
    assert [each["file"] for each in world.look("etcd")["certificates"]] == paths[1:]
