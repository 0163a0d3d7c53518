# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a restore finds out of a master whose control plane systemd runs, or ran."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _restore_look, _restore_state
from ansible_collections.clustercare.kubeadm.plugins.module_utils._certificate import CLIENT_AUTH, SERVER_AUTH
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import Answer, Seen, judge
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import ca_sha256
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.fake_host import FakeHost

NOTHING_ASKED = Access("", None, None, None)


@pytest.fixture
def fake(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def stopped(fake: FakeHost, name: str, *flags: str) -> Any:
    """A component whose unit is there and does not run."""
    pid = fake.start_unit(f"{name}.service", f"/opt/{name}", *flags)
    fake.end(pid)
    fake.units[f"{name}.service"].update(ActiveState="failed", MainPID="0")
    return fake.host.look(name)


def test_etcd_that_does_not_run_is_found_by_its_unit(fake: FakeHost, tmp_path: Path) -> None:
    etcd = stopped(fake, "etcd", "--name=cp1", "--data-dir=/srv/etcd", "--listen-client-urls=https://[::1]:2379")
    client = [tmp_path / "client.crt", tmp_path / "client.key"]
    for path in client:
        path.touch()
    server = stopped(fake, "kube-apiserver", f"--etcd-certfile={client[0]}", f"--etcd-keyfile={client[1]}")
    found = _restore_look.find_etcd(etcd, server, NOTHING_ASKED, fake.runner)
    assert (found.flags["name"], found.flags["data-dir"]) == ("cp1", "/srv/etcd")
    assert found.access.endpoint == "https://[::1]:2379"
    assert (found.access.cert, found.access.key) == (str(client[0]), str(client[1]))
    row = _restore_look.component(etcd, fake.runner)
    assert row == {"kind": "systemd", "unit": "etcd.service", "masked": False}


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("etcd Version: 3.6.5\nGit SHA: abc\nGo Version: go1.24.7\n", "3.6.5"),
        ("Kubernetes v1.34.4\n", "1.34.4"),
        ("", None),
    ],
)
def test_a_units_program_says_its_version(fake: FakeHost, said: str, version: Optional[str]) -> None:
    service = stopped(fake, "etcd")

    def runner(argv: list[str], **more: Any) -> Done:
        return Done(argv, 0, said, "") if argv == ["/opt/etcd", "--version"] else fake.runner(argv, **more)

    assert _restore_look.version_of(service, runner) == version


def test_a_static_pods_image_says_its_version(fake: FakeHost) -> None:
    fake.write("kube-apiserver")
    assert _restore_look.version_of(fake.host.look("kube-apiserver"), fake.runner) == "1.34.4"


def test_the_encryption_configuration_is_found_where_the_container_has_it(fake: FakeHost, tmp_path: Path) -> None:
    config = tmp_path / "enc.yaml"
    config.write_text("keys")
    digest = hashlib.sha256(b"keys").hexdigest()
    path = fake.write("kube-apiserver", "--encryption-provider-config=/enc/enc.yaml")
    pod = json.loads(path.read_text())
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "enc", "mountPath": "/enc"}]
    pod["spec"]["volumes"] = [{"name": "enc", "hostPath": {"path": str(tmp_path)}}]
    path.write_text(json.dumps(pod))
    assert _restore_look.encryption_config(fake.host.look("kube-apiserver"), fake.runner) == digest


def test_the_encryption_configuration_of_a_unit(fake: FakeHost, tmp_path: Path) -> None:
    config = tmp_path / "enc.yaml"
    config.write_text("keys")
    server = stopped(fake, "kube-apiserver", f"--encryption-provider-config={config}")
    assert _restore_look.encryption_config(server, fake.runner) == hashlib.sha256(b"keys").hexdigest()
    config.unlink()
    assert _restore_look.encryption_config(server, fake.runner) is None


def pem(content: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(content).decode()}\n-----END CERTIFICATE-----\n"


def test_the_cluster_is_known_by_the_certificate_that_its_pods_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {name: tmp_path / name for name in ("root", "client", "kubeadm")}
    for name, path in paths.items():
        path.write_text(pem(name.encode()))
    monkeypatch.setattr(_restore_look, "CA_CERT", str(paths["kubeadm"]))
    manager, server = [f"--root-ca-file={paths['root']}"], [f"--client-ca-file={paths['client']}"]
    found = [
        _restore_look.cluster_ca(["m", *manager], ["s", *server]),
        _restore_look.cluster_ca(["m"], ["s", *server]),
        _restore_look.cluster_ca(["m", "--root-ca-file=/nowhere"], ["s"]),
    ]
    assert found == [ca_sha256(str(paths[name])) for name in ("root", "client", "kubeadm")]
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("usages", "flags", "said"),
    [
        (SERVER_AUTH + CLIENT_AUTH, {"client-cert-auth": "true"}, None),
        (SERVER_AUTH, {"client-cert-auth": "true"}, "lacks the usage clientAuth"),
        (SERVER_AUTH, {"trusted-ca-file": "/ca"}, "lacks the usage clientAuth"),
        # Without such an extension a certificate may be used for everything.
        (b"", {"client-cert-auth": "true"}, None),
        (SERVER_AUTH, {}, None),
        (SERVER_AUTH, {"client-cert-auth": "true", "client-cert-file": "/client"}, None),
        (SERVER_AUTH + CLIENT_AUTH, {"enable-grpc-gateway": "false"}, "switched off"),
    ],
)
def test_members_that_could_not_be_compared(
    tmp_path: Path, usages: bytes, flags: dict[str, str], said: Optional[str]
) -> None:
    path = tmp_path / "server.crt"
    path.write_text(pem(b"whatever" + usages))
    found = _restore_look.gateway_obstacle({"cert-file": str(path), **flags})
    assert (said in (found or "")) if said else found is None


@pytest.mark.parametrize(
    ("leader", "majority"),
    [("1", True), ("0", False)],
)
def test_a_full_single_member_is_no_lost_cluster(leader: str, majority: bool) -> None:
    """Else it would be rewound without its name typed."""
    status = {
        "header": {"cluster_id": "7", "member_id": "1", "revision": "9"},
        "leader": leader,
        "errors": ["memberID:1 alarm:NOSPACE "],
    }
    member = {"ID": "1", "name": "cp1", "peerURLs": ["https://10.0.0.1:2380"], "clientURLs": ["https://10.0.0.1:2379"]}
    seen = Seen(Answer(status), [member], {"1": Answer(status)}, [])
    summary = _restore_look.etcd_summary(judge(seen, "https://127.0.0.1:2379"))
    assert (summary["answers"], summary["quorum"], summary["revision"]) == (True, majority, 9)


@pytest.mark.parametrize(("answers", "patience", "runs"), [([[], [1]], 5, True), ([[], []], 0, False)])
def test_a_kubelet_that_comes_in_a_moment_counts_as_running(
    fake: FakeHost, answers: list[list[int]], patience: float, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter(answers)
    monkeypatch.setattr(fake.host, "processes", lambda name: next(asked))
    assert _restore_look.kubelet_runs(fake.host, patience) is runs


@pytest.mark.parametrize(("phase", "read"), [("stopped", False), ("started", False), ("done", True), ("", True)])
def test_no_database_is_read_in_the_outage_of_a_restore(
    fake: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str, read: bool
) -> None:
    listens = "--listen-client-urls=http://127.0.0.1:2379"
    stopped(fake, "etcd", "--name=cp1", f"--data-dir={tmp_path}", listens)
    if phase:
        places = {"data_dir": str(tmp_path), "room": str(tmp_path / "room"), "had_data": True}
        _restore_state.save({"run": "r1", **places}, phase, str(fake.state))
    was_read: list[str] = []
    monkeypatch.setattr(_restore_look, "nodes_by_data", was_read.append)
    seen = _restore_look.look(fake.host, Access("http://127.0.0.1:2379", None, None, None), "/nowhere")
    assert (seen["state"] or {}).get("phase", "") == phase
    assert seen["touched"] == seen["state"] and seen["old_data_gone"] is (phase in ("started", "done"))
    assert bool(was_read) is read
