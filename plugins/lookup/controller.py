# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The machine and the process that run Ansible."""

from __future__ import annotations

DOCUMENTATION = r"""
name: controller
short_description: Tell of the machine and the process that run Ansible
version_added: 0.2.0
author: [clustercare.kubeadm authors (@clustercare)]
description:
  - Tells where this run of Ansible runs, and which other runs are on the same machine, so that
    M(clustercare.kubeadm.cluster_lock) can prove that the run that holds a lock is gone.
  - Takes no terms. What the machine does not have (there is no C(/proc) on macOS) is empty, and proves nothing.
options: {}
seealso:
  - module: clustercare.kubeadm.cluster_lock
"""

EXAMPLES = r"""
- name: Lock the cluster for this run
  clustercare.kubeadm.cluster_lock:
    purpose: maintenance
    run_id: "{{ my_run_id }}"
    controller: "{{ lookup('clustercare.kubeadm.controller') }}"
  delegate_to: localhost
"""

RETURN = r"""
_raw:
  description: One dictionary.
  type: list
  elements: dict
  contains:
    machine_id:
      description: The content of C(/etc/machine-id).
      type: str
      sample: 8c1f0a3e5b7d4f2a9e6c0d1b2a394857
    boot_id:
      description: Changes with every boot.
      type: str
      sample: 2f6f8a0e-6a40-4c8e-8d5b-3a1d6f0d4c11
    hostname:
      description: The machine's name.
      type: str
      sample: bastion1
    in_pod:
      description: Whether it is a pod of some cluster.
      type: bool
      sample: false
    pid_namespace:
      description: The kernel's name for the process table that it sees.
      type: str
      sample: "pid:[4026531836]"
    first_namespace:
      description: Whether that is the machine's own, not a container's.
      type: bool
      sample: true
    pid:
      description: The outermost C(ansible-playbook) or C(ansible) that this is part of; null when there is none.
      type: int
      sample: 4242
    start:
      description: When that process started, in clock ticks since the boot.
      type: int
      sample: 8123456
    running:
      description: All runs of Ansible on the machine; null when other users' processes are hidden.
      type: list
      elements: dict
      sample: [{pid: 4242, start: 8123456}]
"""

import os
from typing import Any

from ansible.plugins.lookup import LookupBase

from ansible_collections.clustercare.kubeadm.plugins.module_utils._controller import describe


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """One dictionary; there are no terms."""
        return [describe(os.getpid(), os.environ)]
