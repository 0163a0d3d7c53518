# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the lab writes for others to read: kubeadm, haproxy, systemd, Ansible, kubectl."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import cli, cluster, inventory, kubeadm, machines, network, paths, workload
from lab.addresses import Addresses
from lab.state import Lab, Machine
from lab.supervisor import nspawn_argv

MINE = Addresses(2)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "a cache"))
    made = Lab("demo", 2, "1.34.4", "boot")
    for name, role, octet in (("cp1", "master", 11), ("cp2", "master", 12), ("w1", "worker", 21)):
        made.machines[name] = Machine(name, role, octet)
    return made


def documents(text: str) -> dict:
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


@pytest.mark.parametrize(("trap", "expected"), [(False, {"failCgroupV1": False}), (True, {})])
def test_init_leaves_the_cgroup_trap_only_when_asked(trap: Any, expected: Any) -> None:
    found = documents(kubeadm.init_config(MINE, 11, "1.34.4", kubeadm.Secrets(), trap))
    kubelet = found["KubeletConfiguration"]
    assert {name: kubelet[name] for name in kubelet if name == "failCgroupV1"} == expected
    assert kubelet["cgroupDriver"] == "cgroupfs" and kubelet["failSwapOn"] is False


def test_init_names_the_load_balancer_and_its_own_address_and_writes_an_audit_log() -> None:
    found = documents(kubeadm.init_config(MINE, 11, "1.34.4", kubeadm.Secrets()))
    cluster_config = found["ClusterConfiguration"]
    assert cluster_config["controlPlaneEndpoint"] == "10.90.2.1:6443"
    assert found["InitConfiguration"]["localAPIEndpoint"]["advertiseAddress"] == "10.90.2.11"
    arguments = {item["name"]: item["value"] for item in cluster_config["apiServer"]["extraArgs"]}
    assert arguments["audit-log-path"] == "/var/log/kubernetes/audit.log"
    # What the API server reads and writes must be in its container.
    mounted = {volume["mountPath"] for volume in cluster_config["apiServer"]["extraVolumes"]}
    assert mounted == {arguments["audit-policy-file"], "/var/log/kubernetes"}
    assert "/etc/lab/audit-policy.yaml" in mounted


def test_the_audit_policy_sees_every_write_and_no_body() -> None:
    policy = yaml.safe_load(machines.AUDIT_POLICY)
    first, last = policy["rules"]
    assert set(first["verbs"]) == {"create", "update", "patch", "delete", "deletecollection"}
    assert (first["level"], last["level"], policy["omitStages"]) == ("Metadata", "None", ["RequestReceived"])


def test_only_masters_join_with_the_certificate_key() -> None:
    keys = kubeadm.Secrets()
    master = documents(kubeadm.join_config(MINE, 12, "ab", keys, True))["JoinConfiguration"]
    worker = documents(kubeadm.join_config(MINE, 21, "ab", keys, False))["JoinConfiguration"]
    assert master["controlPlane"]["localAPIEndpoint"]["advertiseAddress"] == "10.90.2.12"
    assert keys.certificate_key in json.dumps(master) and keys.certificate_key not in json.dumps(worker)
    assert worker["discovery"]["bootstrapToken"]["caCertHashes"] == ["sha256:ab"]


def test_secrets_are_of_the_form_that_kubeadm_takes_and_never_the_same() -> None:
    one, two = kubeadm.Secrets(), kubeadm.Secrets()
    assert one != two
    assert [len(part) for part in one.token.split(".")] == [6, 16]
    assert len(bytes.fromhex(one.certificate_key)) == 32


# openssl req -x509 -newkey ed25519 -nodes -subj /CN=kubernetes -days 36500; and of it:
# openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | sha256sum
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBQDCB86ADAgECAhQbWleGRj3ubAT7iNTY4rRJ4WzM0jAFBgMrZXAwFTETMBEG
A1UEAwwKa3ViZXJuZXRlczAgFw0yNjExMjIwMzMwMjlaGA8yMTI2MTAyOTAzMzAy
OVowFTETMBEGA1UEAwwKa3ViZXJuZXRlczAqMAUGAytlcAMhALm8TfK28azqmHRg
onz+L/nNVFZtAOw1PtW3Ndix/ze7o1MwUTAdBgNVHQ4EFgQUm74987+MDR1yO9GF
OqrjsfDT3S0wHwYDVR0jBBgwFoAUm74987+MDR1yO9GFOqrjsfDT3S0wDwYDVR0T
AQH/BAUwAwEB/zAFBgMrZXADQQCWVdQsQi4nYNibpnS5nkgZBUgMUQsDTtfDxXT8
nrfYv9qcpWfhN/50pr4eay0+71ek1RzYtPcbIoE3NZEe3wIN
-----END CERTIFICATE-----
"""


def test_ca_hash_is_that_of_the_public_key_as_openssl_makes_it() -> None:
    assert cluster.ca_hash(CERTIFICATE) == "d1e6ac3de411de9300ec8ddb7feddfd1646814c8555499a09f8fc41d85b1d1b8"


def test_haproxy_balances_over_the_masters_only(lab: Lab) -> None:
    config = network.haproxy_config(MINE, lab.of_role("master"))
    servers = [line.split()[1:] for line in config.splitlines() if line.strip().startswith("server ")]
    assert servers == [["cp1", "10.90.2.11:6443"], ["cp2", "10.90.2.12:6443"]]
    assert "bind 10.90.2.1:6443" in config


def test_the_firewall_lets_nothing_out_of_the_bridge() -> None:
    rules = [" ".join(rule) for rule in network.firewall_rules(MINE)]
    assert "FORWARD -i cclab2 ! -o cclab2 -j REJECT" in rules
    assert "FORWARD ! -i cclab2 -o cclab2 -j REJECT" in rules


def test_machines_of_two_labs_have_different_names_on_the_host(lab: Lab) -> None:
    other = Lab("other", 3, "1.34.4", "boot", machines=lab.machines)
    for words in (nspawn_argv(lab, "cp1"), nspawn_argv(other, "cp1")):
        assert "--hostname=cp1" in words
    mine = {word for word in nspawn_argv(lab, "cp1") if word.startswith(("--machine", "--network-bridge", "--dir"))}
    assert mine.isdisjoint(nspawn_argv(other, "cp1"))


def test_each_node_has_its_own_pods(lab: Lab) -> None:
    subnets = [
        json.loads(machines.cni_config(MINE, octet))["plugins"][0]["ipam"]["ranges"][0][0]["subnet"]
        for octet in (11, 12)
    ]
    assert subnets == ["10.162.11.0/24", "10.162.12.0/24"]


def test_the_inventory_reaches_the_machines_with_checked_host_keys(lab: Lab) -> None:
    found = yaml.safe_load(inventory.text(lab))["all"]
    assert found["children"]["masters"]["hosts"] == {
        "cp1": {"ansible_host": "10.90.2.11"},
        "cp2": {"ansible_host": "10.90.2.12"},
    }
    assert list(found["children"]["workers"]["hosts"]) == ["w1"]
    assert "bare" not in found["children"]
    options = shlex.split(found["vars"]["ansible_ssh_common_args"])
    assert "StrictHostKeyChecking=yes" in options and f"UserKnownHostsFile={lab.known_hosts}" in options
    assert found["vars"]["ansible_ssh_private_key_file"].endswith("a cache/keys/ssh")
    assert "SystemVerification" in found["vars"]["upgrade_ignore_preflight_errors"]


def test_the_inventory_without_workers_still_has_the_group(lab: Lab) -> None:
    del lab.machines["w1"]
    lab.machines["cp3"] = Machine("cp3", "bare", 13)
    found = yaml.safe_load(inventory.text(lab))["all"]["children"]
    assert not found["workers"]["hosts"]
    assert found["bare"]["hosts"] == {"cp3": {"ansible_host": "10.90.2.13"}}


def test_the_workload_is_a_well_behaved_one() -> None:
    items = {item["kind"]: item for item in workload.manifest("image", 2)["items"]}
    pod = items["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["readinessProbe"] and container["imagePullPolicy"] == "IfNotPresent"
    sleep = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > sleep
    assert pod["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "ScheduleAnyway"
    chosen = items["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]
    assert chosen == items["Service"]["spec"]["selector"] == items["Deployment"]["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize(
    ("heartbeat", "status", "since", "ready"),
    [
        ("2026-01-01T00:00:10Z", "True", 0, True),
        ("2026-01-01T00:00:10Z", "Unknown", 0, False),
        ("2026-01-01T00:00:10Z", "True", 1767225605, True),
        # Said before the machines were switched off.
        ("2026-01-01T00:00:10Z", "True", 1767225700, False),
    ],
)
def test_ready_counts_only_what_the_kubelet_says_now(heartbeat: Any, status: Any, since: Any, ready: Any) -> None:
    condition = {"type": "Ready", "status": status, "lastHeartbeatTime": heartbeat}
    nodes = {"items": [{"metadata": {"name": "w1"}, "status": {"conditions": [condition]}}]}
    assert cluster.parse_ready(json.dumps(nodes), since) == {"w1": ready}


@pytest.mark.parametrize(
    ("argv", "own", "words"),
    [
        (["kubectl", "-n", "kube-system", "get", "pods"], ["kubectl"], ["-n", "kube-system", "get", "pods"]),
        (["kubectl", "--name", "x", "get", "pods", "--name"], ["kubectl", "--name", "x"], ["get", "pods", "--name"]),
        (["ssh", "--name=x", "w1", "ls", "-l"], ["ssh", "--name=x", "w1"], ["ls", "-l"]),
        (["ssh", "w1", "--", "ls"], ["ssh", "w1"], ["ls"]),
        (["kubectl", "--help"], ["kubectl", "--help"], []),
        (["up", "--masters", "3"], ["up", "--masters", "3"], []),
    ],
)
def test_options_of_kubectl_and_ssh_are_theirs(argv: Any, own: Any, words: Any) -> None:
    assert cli.split(argv) == (own, words)
