# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What kubeadm is told when it makes a lab's cluster. Pure texts; JSON, which is YAML too."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .addresses import API_PORT, Addresses

# A container's kernel and memory are the host's: these checks cannot pass in the lab.
IGNORED_ERRORS = [
    "SystemVerification",
    "Mem",
    "NumCPU",
    "Swap",
    "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables",
]
AUDIT_POLICY_PATH = "/etc/lab/audit-policy.yaml"
AUDIT_LOG = "/var/log/kubernetes/audit.log"
API = "kubeadm.k8s.io/v1beta4"
PKI = "/etc/kubernetes/pki"


def _random(letters: int) -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(letters))


@dataclass
class Secrets:
    """How machines prove that they may join; made for one start of one lab."""

    token: str = field(default_factory=lambda: f"{_random(6)}.{_random(16)}")
    certificate_key: str = field(default_factory=lambda: secrets.token_hex(32))


def documents(*parts: dict[str, Any]) -> str:
    return "---\n".join(json.dumps(part, indent=1) + "\n" for part in parts)


def kubelet_config(fail_cgroup_v1: bool) -> dict[str, Any]:
    """:param fail_cgroup_v1: leave the kubelet's choice open: from 1.35 on it then refuses cgroup v1."""
    kubelet: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "failSwapOn": False,
    }
    if not fail_cgroup_v1:
        kubelet["failCgroupV1"] = False
    return kubelet


def init_config(
    addresses: Addresses,
    octet: int,
    kubernetes: str,
    keys: Secrets,
    fail_cgroup_v1: bool = False,
    etcd_endpoints: Sequence[str] = (),
) -> str:
    """:param etcd_endpoints: of an etcd that is there already and is not kubeadm's to keep."""
    init = {
        "apiVersion": API,
        "kind": "InitConfiguration",
        "localAPIEndpoint": {"advertiseAddress": addresses.machine(octet), "bindPort": API_PORT},
        "bootstrapTokens": [{"token": keys.token, "ttl": "24h"}],
        "certificateKey": keys.certificate_key,
        "nodeRegistration": {"ignorePreflightErrors": IGNORED_ERRORS},
    }
    cluster: dict[str, Any] = {
        "apiVersion": API,
        "kind": "ClusterConfiguration",
        "kubernetesVersion": f"v{kubernetes}",
        # An address, so that whoever works with the cluster need not resolve a name.
        "controlPlaneEndpoint": addresses.api,
        "networking": {"podSubnet": addresses.pods, "serviceSubnet": addresses.services},
        "apiServer": {
            "extraArgs": [
                {"name": "audit-policy-file", "value": AUDIT_POLICY_PATH},
                {"name": "audit-log-path", "value": AUDIT_LOG},
                {"name": "audit-log-maxsize", "value": "200"},
                {"name": "audit-log-maxbackup", "value": "3"},
            ],
            "extraVolumes": [
                {
                    "name": "audit-policy",
                    "hostPath": AUDIT_POLICY_PATH,
                    "mountPath": AUDIT_POLICY_PATH,
                    "readOnly": True,
                    "pathType": "File",
                },
                {
                    "name": "audit-log",
                    "hostPath": AUDIT_LOG.rpartition("/")[0],
                    "mountPath": AUDIT_LOG.rpartition("/")[0],
                    "pathType": "DirectoryOrCreate",
                },
            ],
        },
    }
    if etcd_endpoints:
        external = {
            "endpoints": list(etcd_endpoints),
            "caFile": f"{PKI}/etcd/ca.crt",
            "certFile": f"{PKI}/apiserver-etcd-client.crt",
            "keyFile": f"{PKI}/apiserver-etcd-client.key",
        }
        cluster["etcd"] = {"external": external}
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        # Machines may not change the host's connection tracking.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }
    return documents(init, cluster, kubelet_config(fail_cgroup_v1), proxy)


def join_config(addresses: Addresses, octet: int, ca_hash: str, keys: Secrets, master: bool) -> str:
    join: dict[str, Any] = {
        "apiVersion": API,
        "kind": "JoinConfiguration",
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": addresses.api,
                "token": keys.token,
                "caCertHashes": [f"sha256:{ca_hash}"],
            }
        },
        "nodeRegistration": {"ignorePreflightErrors": IGNORED_ERRORS},
    }
    if master:
        join["controlPlane"] = {
            "localAPIEndpoint": {"advertiseAddress": addresses.machine(octet), "bindPort": API_PORT},
            "certificateKey": keys.certificate_key,
        }
    return documents(join)
