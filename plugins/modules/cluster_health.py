#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_health
short_description: Wait until a cluster, its control plane or a node is healthy
version_added: 0.1.0
description:
  - Looks at the API until everything is as it should be several times in a row, or fails naming all that is missing.
  - A restarting API server is outlived until O(timeout), but a look that it spoilt does not count.
author: [clustercare.kubeadm authors (@clustercare)]
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - clustercare.kubeadm.attributes
  - clustercare.kubeadm.cluster_lock
attributes:
  check_mode:
    support: full
    details: Only reads, in check mode too; beside that, the lock of O(lock_run) is renewed outside of check mode.
  diff_mode:
    support: none
    details: Changes nothing.
  idempotent:
    support: full
  platform:
    support: full
    platforms: posix
    details: Runs where the Kubernetes client is, usually on the controller.
requirements:
  - kubernetes >= 24.2.0 (Python)
options:
  scope:
    description:
      - V(cluster) is healthy when all nodes are Ready, and kube-proxy and CoreDNS, where kubeadm runs them, are rolled
        out in their newest form.
      - V(control_plane) is healthy when each of O(api_servers) says that it is ready, the control plane's static pods
        are Ready, and controller manager and scheduler each have a leader that is seen to renew its lease.
      - V(node) is healthy when O(node) is Ready and tells of no pressure (memory, disk, PIDs) or missing network, its
        heartbeat is newer than O(since), and the pods of DaemonSets on it are Ready.
      - Several are healthy when all of them are in the same look; V(cluster) stands alone.
    type: list
    elements: str
    required: true
    choices: [cluster, control_plane, node]
  node:
    description:
      - The node's name in the cluster; required with V(node) in O(scope).
      - With V(control_plane) in O(scope), O(version) and the static pods are those of this node only.
    type: str
  version:
    description:
      - The version that has to run, such as V(1.35.4).
      - It is the version of kubelets (V(node), V(cluster)), of kube-proxy (V(cluster)), and of static pods and
        API servers (V(control_plane)).
    type: str
  since:
    description:
      - The node's heartbeat has to be newer than this, in seconds since 1970 or as ISO 8601 with its zone.
      - Take it from the node's own clock, such as the start of its kubelet's process. A heartbeat that is seen to
        change while the module looks is proof too, whatever the clocks say.
    type: str
  boot_id:
    description:
      - The boot, as the host's C(/proc/sys/kernel/random/boot_id) tells it, from which the node's kubelet has to speak
        (V(node)). With O(since), the pods of DaemonSets have to have started after it too.
      - For a node that was rebooted, of which the API shows for a while what was before.
    type: str
    version_added: 0.2.0
  api_servers:
    description:
      - API servers that are asked one by one, past any load balancer, as C(address:port).
      - Each is verified with the cluster's CA and has to have its address in its certificate, as kubeadm makes it.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds after which the module fails.
    type: float
    default: 300
  passes:
    description: How many times in a row all has to be well.
    type: int
    default: 3
  interval:
    description: Seconds between two looks.
    type: float
    default: 2
  wait:
    description: With V(false) it looks once, and tells in RV(healthy) and RV(missing) instead of failing.
    type: bool
    default: true
seealso:
  - module: clustercare.kubeadm.etcd_info
  - module: clustercare.kubeadm.node_drain
"""

EXAMPLES = r"""
- name: The control plane of master1 runs the new version
  clustercare.kubeadm.cluster_health:
    scope: control_plane
    node: master1
    version: 1.35.4
    api_servers: [10.80.0.11:6443, 10.80.0.12:6443, 10.80.0.13:6443]
  delegate_to: localhost

- name: Worker2 is back with its new kubelet
  clustercare.kubeadm.cluster_health:
    scope: node
    node: worker2
    version: 1.35.4
    since: "{{ kubelet.started }}"
  delegate_to: localhost

- name: See how the cluster is, once
  clustercare.kubeadm.cluster_health:
    scope: cluster
    wait: false
  delegate_to: localhost
  register: health
"""

RETURN = r"""
healthy:
  description: Whether nothing was missing in the last look.
  returned: always
  type: bool
  sample: true
missing:
  description: What was missing in the last look.
  returned: always
  type: list
  elements: str
  sample: ["the kubelet of worker2 is v1.34.4, not yet v1.35.4"]
nodes:
  description: The nodes that were looked at.
  returned: always
  type: list
  elements: dict
  sample: [{name: worker2, ready: true, version: v1.35.4, cordoned: true}]
api_servers:
  description: The API servers that were asked one by one.
  returned: always
  type: list
  elements: dict
  sample: [{server: "10.80.0.11:6443", ready: true, version: v1.35.4}]
leaders:
  description: Who holds the leases of controller manager and scheduler (V(control_plane) in O(scope)).
  returned: always
  type: dict
  sample: {kube-controller-manager: master2_5d1c, kube-scheduler: master1_8a0b}
seconds:
  description: How long it took.
  returned: always
  type: float
  sample: 6.2
api_calls:
  description: Number of requests sent.
  returned: always
  type: int
  sample: 12
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
  sample: 4.2
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._health import CHECKS, Wanted, read_since
from ansible_collections.clustercare.kubeadm.plugins.module_utils._health_run import Options, watch_health
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import auth_argument_spec, connect
from ansible_collections.clustercare.kubeadm.plugins.module_utils._lock import LOCK_RUN, renew
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import parse
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline


def health(module: AnsibleModule) -> dict[str, Any]:
    """One call waits for the whole scope."""
    params = module.params
    if "node" in params["scope"] and not params["node"]:
        raise CareError("The health of a node is asked for, and no node is named (option node).")
    if "cluster" in params["scope"] and len(set(params["scope"])) > 1:
        raise CareError("The scope cluster stands alone (option scope); look at the others in a task of their own.")
    version = parse(params["version"]) if params["version"] else None
    options = Options(
        scopes=tuple(dict.fromkeys(params["scope"])),
        wanted=Wanted(params["node"], version, read_since(params["since"]), params["boot_id"]),
        api_servers=tuple(params["api_servers"]),
        timeout=params["timeout"],
        passes=params["passes"],
        interval=params["interval"],
        wait=params["wait"],
    )
    api = connect(module)
    renew(api, params["lock_run"], Deadline(params["timeout"], "timeout"), module.check_mode)
    return watch_health(api, options)


def main() -> None:
    run_module(
        health,
        argument_spec={
            **auth_argument_spec(),
            "scope": {"type": "list", "elements": "str", "required": True, "choices": list(CHECKS)},
            "node": {"type": "str"},
            "version": {"type": "str"},
            "since": {"type": "str"},
            "boot_id": {"type": "str"},
            "api_servers": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 300},
            "passes": {"type": "int", "default": 3, "no_log": False},
            "interval": {"type": "float", "default": 2},
            "wait": {"type": "bool", "default": True},
            **LOCK_RUN,
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
