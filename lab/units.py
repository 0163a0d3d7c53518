# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A control plane of systemd units, as the older tutorials have one write it by hand. Pure texts."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .addresses import API_PORT, Addresses
from .kubeadm import AUDIT_LOG, AUDIT_POLICY_PATH, PKI, kubelet_config
from .state import Machine

PROGRAMS = "/usr/local/bin"
ETCD = "etcd"
# Started by one command: each one waits, or is started again, until what it needs is there.
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
CLIENT_PORT, PEER_PORT = 2379, 2380


def unit(
    program: str,
    flags: Mapping[str, str],
    description: str,
    type_: str = "simple",
    after: str = "network-online.target",
) -> str:
    start = " \\\n  ".join([f"{PROGRAMS}/{program}", *(f"--{name}={value}" for name, value in flags.items())])
    return f"""[Unit]
Description={description}
Wants=network-online.target
After={after}

[Service]
Type={type_}
ExecStart={start}
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
"""


def client_urls(addresses: Addresses, masters: Sequence[Machine]) -> list[str]:
    """Where each member of etcd is asked."""
    return [f"https://{addresses.machine(master.octet)}:{CLIENT_PORT}" for master in masters]


def etcd(addresses: Addresses, masters: Sequence[Machine], mine: Machine) -> str:
    """One member; ready for systemd only when it has found the others, so all are to be started at once."""
    own = addresses.machine(mine.octet)
    flags = {
        "name": mine.name,
        "data-dir": "/var/lib/etcd",
        "listen-client-urls": f"https://127.0.0.1:{CLIENT_PORT},https://{own}:{CLIENT_PORT}",
        "advertise-client-urls": f"https://{own}:{CLIENT_PORT}",
        "listen-peer-urls": f"https://{own}:{PEER_PORT}",
        "initial-advertise-peer-urls": f"https://{own}:{PEER_PORT}",
        "initial-cluster": ",".join(
            f"{master.name}=https://{addresses.machine(master.octet)}:{PEER_PORT}" for master in masters
        ),
        "initial-cluster-state": "new",
        "cert-file": f"{PKI}/etcd/server.crt",
        "key-file": f"{PKI}/etcd/server.key",
        "trusted-ca-file": f"{PKI}/etcd/ca.crt",
        "client-cert-auth": "true",
        "peer-cert-file": f"{PKI}/etcd/peer.crt",
        "peer-key-file": f"{PKI}/etcd/peer.key",
        "peer-trusted-ca-file": f"{PKI}/etcd/ca.crt",
        "peer-client-cert-auth": "true",
    }
    return unit("etcd", flags, "etcd", "notify")


def api_server(addresses: Addresses, masters: Sequence[Machine], mine: Machine) -> str:
    flags = {
        "advertise-address": addresses.machine(mine.octet),
        "secure-port": str(API_PORT),
        "allow-privileged": "true",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "enable-bootstrap-token-auth": "true",
        "client-ca-file": f"{PKI}/ca.crt",
        "tls-cert-file": f"{PKI}/apiserver.crt",
        "tls-private-key-file": f"{PKI}/apiserver.key",
        "etcd-servers": ",".join(client_urls(addresses, masters)),
        "etcd-cafile": f"{PKI}/etcd/ca.crt",
        "etcd-certfile": f"{PKI}/apiserver-etcd-client.crt",
        "etcd-keyfile": f"{PKI}/apiserver-etcd-client.key",
        "kubelet-client-certificate": f"{PKI}/apiserver-kubelet-client.crt",
        "kubelet-client-key": f"{PKI}/apiserver-kubelet-client.key",
        "kubelet-preferred-address-types": "InternalIP,ExternalIP,Hostname",
        "proxy-client-cert-file": f"{PKI}/front-proxy-client.crt",
        "proxy-client-key-file": f"{PKI}/front-proxy-client.key",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-client-ca-file": f"{PKI}/front-proxy-ca.crt",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-username-headers": "X-Remote-User",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": f"{PKI}/sa.pub",
        "service-account-signing-key-file": f"{PKI}/sa.key",
        "service-cluster-ip-range": addresses.services,
        "audit-policy-file": AUDIT_POLICY_PATH,
        "audit-log-path": AUDIT_LOG,
        "audit-log-maxsize": "200",
        "audit-log-maxbackup": "3",
    }
    # The order is kept backwards when the machine goes down: without its etcd an API server does not end in time.
    return unit("kube-apiserver", flags, "Kubernetes API server", after="network-online.target etcd.service")


def _clients(name: str) -> dict[str, str]:
    kubeconfig = f"/etc/kubernetes/{name}.conf"
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": "127.0.0.1",
        "leader-elect": "true",
    }


def controller_manager(addresses: Addresses) -> str:
    flags = {
        **_clients("controller-manager"),
        "allocate-node-cidrs": "true",
        "cluster-cidr": addresses.pods,
        "service-cluster-ip-range": addresses.services,
        "cluster-name": "kubernetes",
        "controllers": "*,bootstrapsigner,tokencleaner",
        "client-ca-file": f"{PKI}/ca.crt",
        "requestheader-client-ca-file": f"{PKI}/front-proxy-ca.crt",
        "root-ca-file": f"{PKI}/ca.crt",
        "cluster-signing-cert-file": f"{PKI}/ca.crt",
        "cluster-signing-key-file": f"{PKI}/ca.key",
        "service-account-private-key-file": f"{PKI}/sa.key",
        "use-service-account-credentials": "true",
    }
    return unit("kube-controller-manager", flags, "Kubernetes controller manager")


def scheduler() -> str:
    return unit("kube-scheduler", _clients("scheduler"), "Kubernetes scheduler")


def control_plane(addresses: Addresses, masters: Sequence[Machine], mine: Machine) -> dict[str, str]:
    """Component -> unit."""
    texts = (api_server(addresses, masters, mine), controller_manager(addresses), scheduler())
    return dict(zip(CONTROL_PLANE, texts, strict=True))


def kubelet(addresses: Addresses, fail_cgroup_v1: bool) -> str:
    """A worker's kubelet without kubeadm."""
    more: dict[str, Any] = {
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{PKI}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [str(ipaddress.IPv4Network(addresses.services)[10])],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "rotateCertificates": True,
    }
    return json.dumps({**kubelet_config(fail_cgroup_v1), **more}, indent=1) + "\n"


def bootstrap_kubeconfig(addresses: Addresses, token: str) -> str:
    """With which a kubelet asks for a certificate of its own."""
    cluster = {"server": f"https://{addresses.api}", "certificate-authority": f"{PKI}/ca.crt"}
    whole = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "bootstrap", "user": {"token": token}}],
        "contexts": [{"name": "bootstrap", "context": {"cluster": "lab", "user": "bootstrap"}}],
        "current-context": "bootstrap",
    }
    return json.dumps(whole, indent=1) + "\n"
