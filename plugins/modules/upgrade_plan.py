#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: upgrade_plan
short_description: Plan the upgrade of a kubeadm cluster
version_added: 0.1.0
author: [clustercare.kubeadm authors (@clustercare)]
description:
  - Decides what an upgrade would do on each node, in which order, and what stands in its way.
  - Reads the API (GET and LIST only) and the facts that M(clustercare.kubeadm.kubeadm_host_info) found on the hosts.
    Changes nothing, ever.
  - What must not happen is listed in RV(plan.refusals), a sentence each; the module itself does not fail for them,
    so that they can be shown together. Fail on them before you change anything.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - clustercare.kubeadm.attributes
attributes:
  check_mode:
    support: full
    details: The module only reads.
  diff_mode:
    support: none
    details: Nothing is changed.
  idempotent:
    support: full
  platform:
    support: full
    platforms: posix
requirements:
  - Python package C(kubernetes), on the host that runs the module
options:
  version:
    description:
      - The target. V(1.35.4) is exact; V(1.35) means the newest patch that all hosts offer, resolved once for all of
        them; V(1.35.4-1.1) is exactly that package.
    type: str
    required: true
  masters:
    description: Inventory names of the control-plane nodes, in the order of the upgrade.
    type: list
    elements: str
    required: true
  workers:
    description: Inventory names of the workers, in the order of the upgrade.
    type: list
    elements: str
    default: []
  hosts:
    description:
      - The RV(clustercare.kubeadm.kubeadm_host_info#module:host) of every host by inventory name.
      - A host of O(masters) or O(workers) that is missing here and in O(unreachable) was left out by C(--limit), which
        is refused.
    type: dict
    required: true
  packages:
    description: >-
      What M(clustercare.kubeadm.kube_packages) with O(clustercare.kubeadm.kube_packages#module:state=available)
      answered, by inventory name. Not needed with O(manage_packages=false).
    type: dict
    default: {}
  etcd:
    description: >-
      The RV(clustercare.kubeadm.etcd_info#module:etcd) of the masters by inventory name; without it etcd's health is
      not judged.
    type: dict
    default: {}
  unreachable:
    description: Inventory names of the hosts that could not be reached.
    type: list
    elements: str
    default: []
  ignore_preflight_errors:
    description: Names of kubeadm's preflight checks whose failure will be ignored. V(all) is refused.
    type: list
    elements: str
    default: []
  manage_packages:
    description: >-
      Whether packages are installed by the upgrade. If V(false), the hosts' kubeadm and kubelet binaries must already
      be the target's.
    type: bool
    default: true
  max_unavailable:
    description: How many workers may be out of service at once; a number, or a percentage of the workers like V(20%).
    type: str
    default: "1"
  drain_emptydir:
    description: What a drain does with pods that have an emptyDir.
    type: str
    choices: [delete, fail]
    default: delete
  drain_unmanaged:
    description: What a drain does with pods that no controller would make again.
    type: str
    choices: [delete, fail]
    default: fail
  controller:
    description: Where Ansible itself runs, the answer of the lookup plugin P(clustercare.kubeadm.controller#lookup).
    type: dict
    default: {}
  timeout:
    description: Seconds to wait for the API's answers.
    type: int
    default: 60
seealso:
  - module: clustercare.kubeadm.kubeadm_host_info
  - module: clustercare.kubeadm.node_drain
"""

EXAMPLES = r"""
- name: Plan the upgrade
  clustercare.kubeadm.upgrade_plan:
    kubeconfig: /home/operator/.kube/config
    version: "1.35"
    masters: "{{ groups['masters'] }}"
    workers: "{{ groups['workers'] }}"
    hosts: "{{ host_facts }}"
    packages: "{{ package_answers }}"
  delegate_to: localhost
  run_once: true
  register: planned

- name: Show it
  ansible.builtin.debug:
    msg: "{{ planned.plan.text.splitlines() }}"

- name: Stop before anything is changed
  ansible.builtin.fail:
    msg: "{{ planned.plan.refusals | map(attribute='message') | list }}"
  when: planned.plan.refusals | length > 0
"""

RETURN = r"""
plan:
  description: The plan.
  returned: success
  type: dict
  contains:
    target:
      description: The exact version, or null when it could not be resolved.
      type: str
      sample: 1.35.4
    asked:
      description: The version that was asked for.
      type: str
      sample: "1.35"
    package_version:
      description: The exact package version for each package manager.
      type: dict
      sample: {"apt": "1.35.4-1.1"}
    package_versions:
      description: The exact package version for each host.
      type: dict
      sample: {"cp1": "1.35.4-1.1", "w1": "1.35.4-1.1"}
    cluster:
      description: Which cluster it is - its name, the UID of its kube-system namespace, its CA, version and server.
      type: dict
    nothing_to_do:
      description: Whether every node is done and nothing is refused.
      type: bool
    refusals:
      description: Why the upgrade must not begin; each with C(host), C(rule) and C(message).
      type: list
      elements: dict
    warnings:
      description: What a person should know and the upgrade goes on with.
      type: list
      elements: str
    order:
      description: >-
        C(first_master) is the first of the group, C(masters) those with work left in their order, C(workers) the
        batches of workers with work left, C(max_unavailable) the size of a batch.
      type: dict
      sample: {"first_master": "cp1", "masters": ["cp1"], "workers": [["w1"], ["w2"]], "max_unavailable": 1}
    api_servers:
      description: Address and port of each master's own API server.
      type: list
      elements: str
      sample: ["10.80.0.11:6443"]
    hosts:
      description: Each host's node, role, versions, whether it is done, and the steps that it needs.
      type: dict
    blockers:
      description: Who would hold up a drain; each with C(host), C(node), C(kind), C(budget), C(pods) and C(message).
      type: list
      elements: dict
    text:
      description: The plan in words.
      type: str
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
  sample: 0.2
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import auth_argument_spec
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan import make_plan
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_source import read
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import Request

ARGUMENTS: dict[str, Any] = {
    "version": {"type": "str", "required": True},
    "masters": {"type": "list", "elements": "str", "required": True},
    "workers": {"type": "list", "elements": "str", "default": []},
    "hosts": {"type": "dict", "required": True},
    "packages": {"type": "dict", "default": {}},
    "etcd": {"type": "dict", "default": {}},
    "unreachable": {"type": "list", "elements": "str", "default": []},
    "ignore_preflight_errors": {"type": "list", "elements": "str", "default": []},
    "manage_packages": {"type": "bool", "default": True},
    "max_unavailable": {"type": "str", "default": "1"},
    "drain_emptydir": {"type": "str", "choices": ["delete", "fail"], "default": "delete"},
    "drain_unmanaged": {"type": "str", "choices": ["delete", "fail"], "default": "fail"},
    "controller": {"type": "dict", "default": {}},
    "timeout": {"type": "int", "default": 60},
}


def plan(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    request = Request(**{name: given[name] for name in ARGUMENTS if name != "timeout"})
    return {"plan": make_plan(request, read(module, request, os.environ))}


def main() -> None:
    run_module(plan, argument_spec={**auth_argument_spec(), **ARGUMENTS}, supports_check_mode=True)


if __name__ == "__main__":
    main()
