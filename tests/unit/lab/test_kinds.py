# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kinds of control plane: what goes together, how a lab's own is told, and the texts of its units."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml

from lab import by_hand, cli, cluster, kinds, kubeadm, lifecycle, paths, units
from lab.addresses import Addresses
from lab.errors import LabError
from lab.kinds import EXTERNAL, STACKED, STATIC_PODS, SYSTEMD, Kind
from lab.state import Lab, Machine

MINE = Addresses(2)
MASTERS = [Machine("cp1", "master", 11), Machine("cp2", "master", 12), Machine("cp3", "master", 13)]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    machines = {machine.name: machine for machine in [*MASTERS, Machine("w1", "worker", 21), Machine("x", "bare", 101)]}
    return Lab("demo", 2, "1.34.4", "boot", machines=machines)


def on_disk(lab: Lab, *names: str) -> None:
    folder = lab.root("cp1") / "etc/systemd/system"
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}.service").touch()


def flags(text: str) -> dict[str, str]:
    """The options of a unit's program, as systemd splits them."""
    joined = text.replace("\\\n", " ")
    (start,) = [line for line in joined.splitlines() if line.startswith("ExecStart=")]
    return dict(word.removeprefix("--").split("=", 1) for word in shlex.split(start.removeprefix("ExecStart="))[1:])


@pytest.mark.parametrize(
    ("control_plane", "etcd", "kind"),
    [
        (STATIC_PODS, STACKED, Kind(STATIC_PODS, STATIC_PODS)),
        (STATIC_PODS, EXTERNAL, Kind(STATIC_PODS, SYSTEMD)),
        (SYSTEMD, STACKED, Kind(SYSTEMD, SYSTEMD)),
    ],
)
def test_what_is_asked_for_is_a_kind(control_plane: str, etcd: str, kind: Kind) -> None:
    assert kinds.choose(control_plane, etcd, 1) == kind


@pytest.mark.parametrize(
    ("etcd", "workers", "said"), [(EXTERNAL, 1, "leave --etcd out"), (STACKED, 0, "one worker at least")]
)
def test_what_does_not_go_together_is_refused(etcd: str, workers: int, said: str) -> None:
    with pytest.raises(LabError, match="--control-plane systemd") as refused:
        kinds.choose(SYSTEMD, etcd, workers)
    assert said in str(refused.value)


def test_up_without_options_makes_kubeadms_own_kind() -> None:
    asked = cli.parser().parse_args(["up"])
    assert kinds.choose(asked.control_plane, asked.etcd, asked.workers) == Kind(STATIC_PODS, STATIC_PODS)


@pytest.mark.parametrize(
    ("there", "kind", "nodes"),
    [
        ([], Kind(STATIC_PODS, STATIC_PODS), ["cp1", "cp2", "cp3", "w1"]),
        (["etcd"], Kind(STATIC_PODS, SYSTEMD), ["cp1", "cp2", "cp3", "w1"]),
        (["etcd", "kube-apiserver"], Kind(SYSTEMD, SYSTEMD), ["w1"]),
    ],
)
def test_a_masters_disk_tells_the_kind_and_who_is_a_node(
    lab: Lab, there: list[str], kind: Kind, nodes: list[str]
) -> None:
    on_disk(lab, *there)
    assert kinds.of(lab) == kind
    assert [machine.name for machine in kinds.nodes(lab)] == nodes


def test_a_lab_whose_disks_are_away_is_of_kubeadms_own_kind(lab: Lab) -> None:
    assert kinds.of(lab) == Kind()


@pytest.mark.parametrize(("there", "fails"), [([], True), (["etcd", "kube-apiserver"], False)])
def test_masters_without_kubelets_are_not_waited_for(
    lab: Lab, there: list[str], fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk(lab, *there)
    monkeypatch.setattr(cluster, "ready_nodes", lambda lab, since: {"w1": True})
    if fails:
        with pytest.raises(LabError, match="cp1, cp2, cp3"):
            cluster.await_ready(lab, 0)
    else:
        cluster.await_ready(lab, 0)


@pytest.mark.parametrize(
    ("there", "said"),
    [([], ""), (["etcd"], ", etcd by systemd"), (["etcd", "kube-apiserver"], ", control plane and etcd by systemd")],
)
def test_status_names_the_kind_when_it_is_another_than_kubeadms_own(lab: Lab, there: list[str], said: str) -> None:
    on_disk(lab, *there)
    first = cli._table(lifecycle.status(lab)).splitlines()[0]
    assert first.partition("https://10.90.2.1:6443")[2] == said


def test_each_member_of_etcd_knows_all_and_listens_with_certificates_only() -> None:
    found = [flags(units.etcd(MINE, MASTERS, machine)) for machine in MASTERS]
    assert {one["initial-cluster"] for one in found} == {
        "cp1=https://10.90.2.11:2380,cp2=https://10.90.2.12:2380,cp3=https://10.90.2.13:2380"
    }
    assert [one["name"] for one in found] == ["cp1", "cp2", "cp3"]
    for one in found:
        own = dict(pair.split("=") for pair in one["initial-cluster"].split(","))[one["name"]]
        assert one["listen-peer-urls"] == one["initial-advertise-peer-urls"] == own
        assert one["client-cert-auth"] == one["peer-client-cert-auth"] == "true"
    assert found[1]["listen-client-urls"] == "https://127.0.0.1:2379,https://10.90.2.12:2379"
    assert found[1]["advertise-client-urls"] == "https://10.90.2.12:2379"


def test_each_api_server_asks_every_member_of_etcd_and_advertises_itself() -> None:
    found = flags(units.control_plane(MINE, MASTERS, MASTERS[1])["kube-apiserver"])
    assert found["etcd-servers"] == "https://10.90.2.11:2379,https://10.90.2.12:2379,https://10.90.2.13:2379"
    assert found["advertise-address"] == "10.90.2.12"
    assert found["service-cluster-ip-range"] == "10.202.0.0/16"
    assert found["audit-log-path"] == "/var/log/kubernetes/audit.log"


@pytest.mark.parametrize(
    ("program", "kubeconfig"), [("kube-controller-manager", "controller-manager"), ("kube-scheduler", "scheduler")]
)
def test_who_must_be_only_one_elects_a_leader_and_uses_kubeadms_kubeconfig(program: str, kubeconfig: str) -> None:
    found = flags(units.control_plane(MINE, MASTERS, MASTERS[0])[program])
    assert found["leader-elect"] == "true"
    assert found["kubeconfig"] == f"/etc/kubernetes/{kubeconfig}.conf"
    assert f"kubeconfig {kubeconfig}" in by_hand.PHASES


def certificates(text: str) -> set[str]:
    return {value for value in flags(text).values() if value.startswith("/etc/kubernetes/pki/")}


def test_units_name_no_certificate_that_kubeadm_does_not_make() -> None:
    # What `kubeadm init phase certs all` writes.
    names = "ca sa front-proxy-ca front-proxy-client apiserver apiserver-kubelet-client apiserver-etcd-client"
    pairs = [*names.split(), *(f"etcd/{name}" for name in ("ca", "server", "peer", "healthcheck-client"))]
    made = {f"/etc/kubernetes/pki/{name}.{end}" for name in pairs for end in ("crt", "key", "pub")}
    texts = [units.etcd(MINE, MASTERS, MASTERS[0]), *units.control_plane(MINE, MASTERS, MASTERS[0]).values()]
    named = set().union(*map(certificates, texts))
    assert named <= made and "/etc/kubernetes/pki/sa.pub" in named


def test_every_unit_is_started_at_boot_and_again_when_it_fails() -> None:
    texts = [units.etcd(MINE, MASTERS, MASTERS[0]), *units.control_plane(MINE, MASTERS, MASTERS[0]).values()]
    for text in texts:
        assert "WantedBy=multi-user.target" in text and "Restart=on-failure" in text
    assert "Type=notify" in texts[0]


def test_external_etcd_is_named_to_kubeadm_with_the_certificates_that_were_made_for_it() -> None:
    endpoints = units.client_urls(MINE, MASTERS)
    text = kubeadm.init_config(MINE, 11, "1.34.4", kubeadm.Secrets(), etcd_endpoints=endpoints)
    found = {document["kind"]: document for document in yaml.safe_load_all(text)}["ClusterConfiguration"]["etcd"]
    assert found["external"]["endpoints"] == endpoints
    assert found["external"]["caFile"] == "/etc/kubernetes/pki/etcd/ca.crt"
    assert found["external"]["certFile"] == "/etc/kubernetes/pki/apiserver-etcd-client.crt"
    assert list(found) == ["external"]


def test_stacked_etcd_is_left_to_kubeadm() -> None:
    text = kubeadm.init_config(MINE, 11, "1.34.4", kubeadm.Secrets())
    assert "etcd" not in {d["kind"]: d for d in yaml.safe_load_all(text)}["ClusterConfiguration"]


def test_a_kubelet_without_kubeadm_trusts_the_cluster_and_asks_its_dns() -> None:
    found = json.loads(units.kubelet(MINE, False))
    assert found["clusterDNS"] == ["10.202.0.10"]
    assert found["authentication"]["anonymous"] == {"enabled": False}
    assert found["authentication"]["x509"]["clientCAFile"] == "/etc/kubernetes/pki/ca.crt"
    assert found["failCgroupV1"] is False
    assert "failCgroupV1" not in json.loads(units.kubelet(MINE, True))


def test_the_bootstrap_kubeconfig_goes_through_the_load_balancer_with_the_token() -> None:
    found = json.loads(units.bootstrap_kubeconfig(MINE, "abcdef.0123456789abcdef"))
    assert found["clusters"][0]["cluster"]["server"] == "https://10.90.2.1:6443"
    assert found["users"][0]["user"] == {"token": "abcdef.0123456789abcdef"}
    (context,) = found["contexts"]
    assert found["current-context"] == context["name"]
    assert context["context"] == {"cluster": found["clusters"][0]["name"], "user": found["users"][0]["name"]}
