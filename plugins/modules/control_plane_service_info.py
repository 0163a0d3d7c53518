#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: control_plane_service_info
short_description: Say how the components of a Kubernetes node are
version_added: 0.2.0
author:
  - clustercare.kubeadm authors (@clustercare)
description:
  - Looks at the host alone, so it works while the API server is away, and needs no crictl. What only the API server
    knows is asked of the host's own one and null when it does not answer.
  - Needs root, and nothing but Python's standard library; C(kubectl) on the host, offline, to read manifests and
    kubeconfigs.
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
  - clustercare.kubeadm.etcd
attributes:
  check_mode:
    support: full
    details: Only reads.
  diff_mode:
    support: none
    details: Changes nothing.
  idempotent:
    support: full
  platform:
    support: full
    details: Linux with systemd.
    platforms: posix
options:
  name:
    description: The components to look at. All by default; those that a host does not have are V(absent).
    type: list
    elements: str
    choices: [etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, container-runtime]
    default: [etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, container-runtime]
  manifests_dir:
    description: Where the kubelet reads static pods. Found out from the kubelet when not given.
    type: path
  kubeconfig:
    description:
      - The kubeconfig on the host by which its API server is asked. When it is not there, the kubelet's own.
    type: path
    default: /etc/kubernetes/admin.conf
seealso:
  - module: clustercare.kubeadm.control_plane_service
  - module: clustercare.kubeadm.etcd_info
"""

EXAMPLES = r"""
- name: Look at the control plane
  clustercare.kubeadm.control_plane_service_info:
  become: true
  register: __found

- name: Name what is not well
  ansible.builtin.debug:
    msg: "{{ item.key }}: {{ item.value.problem }}"
  loop: "{{ __found.services | dict2items | selectattr('value.problem') }}"

- name: Name what is stopped until somebody, or its timer, puts it back
  ansible.builtin.debug:
    msg: "{{ item.key }}: {{ item.value.restore_at | default('no timer is set', true) }}"
  loop: "{{ __found.services | dict2items | selectattr('value.state', 'eq', 'stopped') }}"
"""

RETURN = r"""
services:
  description: The components by name.
  returned: always
  type: dict
  contains:
    state:
      description:
        - V(started), V(stopped), V(failed) when it should run and does not, or V(absent) when the host has none.
      type: str
      sample: started
    kind:
      description: What runs it, V(static_pod), V(systemd), V(process) when somebody started it by hand, or V(absent).
      type: str
      sample: static_pod
    manifests:
      description: Where its manifest is; below C(/var/lib/clustercare) while it is stopped.
      type: list
      elements: str
      sample: [/etc/kubernetes/manifests/kube-scheduler.yaml]
    unit:
      description: Its systemd unit.
      type: str
      sample: kubelet.service
    version:
      description: Its version, by its image's tag or by its own word.
      type: str
      sample: 1.34.4
    image:
      description: The image that its manifest names.
      type: str
      sample: registry.example.org/kube-scheduler:v1.34.4
    current:
      description: Whether the process runs with the manifest's command line; null without a manifest or a process.
      type: bool
      sample: true
    pid:
      description: Its process.
      type: int
      sample: 4711
    started:
      description: When that started.
      type: str
      sample: "2026-11-24T06:00:00Z"
    uptime:
      description: Seconds since then.
      type: int
      sample: 3600
    restarts:
      description:
        - How often it was started again, as the kubelet numbers a static pod's containers or as systemd counts restarts
          of its own. A stop and a start on purpose count for a static pod too.
      type: int
      sample: 0
    last_exit:
      description: How the run before this one ended; null when nothing tells.
      type: dict
      contains:
        reason:
          description: The reason in a word.
          type: str
          sample: Error
        code:
          description: Its exit status.
          type: int
          sample: 1
        at:
          description: When.
          type: str
          sample: "2026-11-24T05:59:58Z"
        last_words:
          description: The last line of its log.
          type: str
    healthy:
      description: Whether it says that it is well; null when it is stopped or absent.
      type: bool
      sample: true
    problem:
      description: What is wrong, in words; null when nothing is.
      type: str
    leader:
      description:
        - Whether it is the one at work, by the Lease of controller manager and scheduler and by etcd's own word.
        - Null for the others, and when nobody tells.
      type: bool
      sample: true
    certificates:
      description: The certificates that it shows to others, and when they end.
      type: list
      elements: dict
      contains:
        file:
          description: The file that holds it.
          type: str
          sample: /etc/kubernetes/pki/apiserver.crt
        not_after:
          description: When it ends.
          type: str
          sample: "2027-11-24T05:12:10Z"
        days_left:
          description: Whole days until then; negative when it has ended.
          type: int
          sample: 364
    restore_at:
      description: When the host puts it back by itself; null when it does not.
      type: str
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
  sample: 0.6
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_watch import ACCESS_OPTIONS, wanted_access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import NAMES, Host
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_info import Describer
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_probe import Prober


def info(module: AnsibleModule) -> dict[str, Any]:
    prober = Prober(Host(module.params["manifests_dir"]), module.params["kubeconfig"], wanted_access(module.params))
    return {"services": Describer(prober).describe(module.params["name"])}


def main() -> None:
    run_module(
        info,
        argument_spec={
            "name": {"type": "list", "elements": "str", "choices": list(NAMES), "default": list(NAMES)},
            "manifests_dir": {"type": "path"},
            "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
            **ACCESS_OPTIONS,
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
