#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_host_info
short_description: What a host of a kubeadm cluster really runs
version_added: 0.1.0
author: [clustercare.kubeadm authors (@clustercare)]
description:
  - Reads in under a second what an upgrade has to know about one host, and changes nothing.
  - Versions are those of what runs. The kubelet is found in the process table, the local API server is asked directly
    past any load balancer, and the Node's name is that of the kubelet's client certificate.
  - A part that cannot be read is V(null), and RV(host.problems) says why.
options:
  kubeconfig:
    description:
      - The kubeconfig on a master whose client certificate is used to ask the local API server.
    type: path
    default: /etc/kubernetes/admin.conf
  patches_dir:
    description:
      - Directory with kubeadm patches on the host, as an upgrade would use it.
        See RV(host.kubeadm_patches_fail_cgroup_v1).
    type: path
  job_timeout:
    description:
      - Seconds to wait, before anything is looked at, for a C(kubeadm) that an earlier run of
        M(clustercare.kubeadm.kubeadm_upgrade) left running on the host. V(0) does not wait.
    type: int
    default: 0
  api_timeout:
    description:
      - Seconds to wait for the local API server when it is away because an unfinished upgrade of this collection left
        it so. The facts say when it stays away. V(0) does not wait.
      - For up to 30 of them a static pod is waited for that does not run though its manifest is in place; a scheduler
        that has just lost its lease is about to be started again.
    type: int
    default: 0
    version_added: 0.2.0
  only_master:
    description:
      - The cluster has no other master, so that nothing can be done until its API server is back.
        It is then waited for, for O(api_timeout), whatever the reason.
    type: bool
    default: false
    version_added: 0.2.0
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: Nothing is ever changed.
  idempotent:
    support: full
  platform:
    support: full
    details: Linux with systemd. Needs root. Only Python's standard library is used.
seealso:
  - module: clustercare.kubeadm.kubeadm_upgrade
  - module: clustercare.kubeadm.kube_packages
"""

EXAMPLES = r"""
- name: Look at every host at once
  clustercare.kubeadm.kubeadm_host_info:
  become: true
  register: looked

- name: Tell which kubelets would change by a restart
  ansible.builtin.debug:
    msg: "{{ looked.host.node_name }}: {{ looked.host.kubelet.stale_because | join(', ') }}"
  when: looked.host.kubelet.stale
"""

RETURN = r"""
host:
  description: What the host runs and has.
  returned: success
  type: dict
  contains:
    hostname:
      description: The kernel's name of the host.
      type: str
      sample: cp1
    node_name:
      description: The Node that the host's kubelet is, by its client certificate; V(null) when it has none.
      type: str
      sample: cp1
    role:
      description: V(master) runs an API server, V(worker) has joined, V(none) has not.
      type: str
      sample: master
    machine_id:
      description: The content of C(/etc/machine-id).
      type: str
    boot_id:
      description: Changes with every boot.
      type: str
    time:
      description: The host's clock when it was read, in seconds since the epoch.
      type: float
    addresses:
      description: Addresses by which others reach the host.
      type: list
      elements: str
      sample: [10.80.0.11]
    os:
      description: C(id), C(version_id), C(name) of the distribution and its C(family) (V(debian), V(redhat), V(other)).
      type: dict
      sample: {family: debian, id: debian, name: Debian GNU/Linux 12 (bookworm), version_id: "12"}
    python:
      description: The version of the Python that ran this module.
      type: str
      sample: 3.11.2
    cgroup:
      description: V(1) or V(2).
      type: int
      sample: 2
    runtime:
      description: The container runtime's C(name), the C(version) that runs, and its C(endpoint).
      type: dict
      sample: {endpoint: "unix:///var/run/containerd/containerd.sock", name: containerd, version: 1.6.20~ds1}
    kubelet:
      description:
        - C(installed) and C(running) version, C(pid) and C(started) (seconds since the epoch) of the process.
        - C(stale) and C(stale_because) tell whether and why a restart would make a difference.
        - C(fail_cgroup_v1) is the setting in the node's own file.
        - C(flags) are rows of C(flag), C(value), C(source) (a file, or V(process)) and C(cleaned_by_kubeadm).
      type: dict
    kubeadm:
      description: The version that is C(installed).
      type: dict
      sample: {installed: 1.34.4}
    kubectl:
      description: The version that is C(installed).
      type: dict
      sample: {installed: 1.34.4}
    packages:
      description:
        - The C(manager) (V(apt), V(dnf), V(none)), versions C(installed), names C(held), and whether the package
          manager was C(interrupted).
      type: dict
      sample:
        manager: apt
        installed: {kubeadm: 1.34.4-1.1, kubectl: 1.34.4-1.1, kubelet: 1.34.4-1.1}
        held: [kubeadm, kubectl, kubelet]
        interrupted: false
    static_pods:
      description:
        - By component, the manifest's C(image), C(version) and C(flags), and whether a process of it is C(running),
          with exactly those flags (C(current)), its C(pid) and when it C(started).
      type: dict
    ca_sha256:
      description: SHA-256 of the cluster's CA certificate on this host (DER, hexadecimal).
      type: str
    api:
      description:
        - On a master, the local API server's C(address), C(port), whether it is C(reachable), its C(version),
          C(kube_system_uid) and the C(error). Else V(null).
      type: dict
    etcd:
      description: On a master with stacked etcd its C(version), C(data_dir) and C(db_size) in bytes. Else V(null).
      type: dict
      sample: {data_dir: /var/lib/etcd, db_size: 6008832, version: 3.6.5}
    disk:
      description: Free bytes by path.
      type: dict
      sample: {/etc/kubernetes: 52613349376}
    record:
      description: What the newest run noted on this host's disk, V(null) when there was none.
      type: dict
    open_run:
      description: >-
        The upgrade of this collection that began here and did not end, V(null) without one. C(reached) says that the
        host runs its target all the same.
      type: dict
      sample: {run: 20261122T031500Z, target: 1.35.4, begun: "2026-11-22T03:15:09Z", phase: kubeadm, reached: false}
    job:
      description: >-
        The newest C(kubeadm) that M(clustercare.kubeadm.kubeadm_upgrade) started here, V(null) when there was none; its
        C(rc) is V(null) while it runs or when it was cut off, C(taken) says whether the record holds its result.
      type: dict
      sample: {run: 20261122T031500Z, step: node, target: 1.35.4, running: false, rc: 0, seconds: 163.2, taken: true}
    busy:
      description: Running kubeadm and package tools, C(pid) and C(what).
      type: list
      elements: dict
    patches:
      description: Names of the files in O(patches_dir), by directory.
      type: dict
    kubeadm_patches_fail_cgroup_v1:
      description: Whether a kubelet patch in O(patches_dir) sets C(failCgroupV1) to V(false).
      type: bool
    problems:
      description: What could not be read, and why.
      type: list
      elements: str
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
  sample: 0.4
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_look import look
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module


def info(module: AnsibleModule) -> dict[str, Any]:
    return {"host": look(module.params)}


def main() -> None:
    run_module(
        info,
        argument_spec={
            "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
            "patches_dir": {"type": "path"},
            "job_timeout": {"type": "int", "default": 0},
            "api_timeout": {"type": "int", "default": 0},
            "only_master": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
