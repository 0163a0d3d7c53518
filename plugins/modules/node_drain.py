#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: node_drain
short_description: Drain, cordon or uncordon a node, and prove it
version_added: 0.1.0
description:
  - Empties a node through the eviction API and waits until every pod is really gone, or fails saying which pod
    is left and what holds it.
  - The cordon has to succeed and to be read back before anything is evicted. It carries its owner in the annotation
    C(clustercare.io/cordon), set in the same request, and only a cordon of the same owner is lifted again.
  - Pods are known by their UID, so a StatefulSet's pod that came back under its name elsewhere is not touched.
  - Evictions run side by side, as many under one PodDisruptionBudget as it allows at the moment. A pod that its budget
    holds back is tried again as soon as the budget has room; the budget is named with its numbers when it never has.
  - Nobody's last Ready replica goes first. Where no budget guards a controller's pods and all its Ready ones run on
    this node, one of them stays until another one is Ready elsewhere and receives requests of its Services.
  - Static pods, pods of DaemonSets and finished pods stay where they are.
  - A restarting API server is outlived until O(timeout).
author: [clustercare.kubeadm authors (@clustercare)]
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - clustercare.kubeadm.attributes
attributes:
  check_mode:
    support: full
    details: Sends no write request at all. Gives the same verdicts and the waves in which the pods would go.
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
    platforms: posix
    details: Runs where the Kubernetes client is, usually on the controller.
requirements:
  - kubernetes >= 24.2.0 (Python)
options:
  name:
    description: The node's name in the cluster.
    type: str
    required: true
  state:
    description:
      - V(drained) cordons the node and evicts its pods.
      - V(cordoned) only keeps new pods away.
      - V(uncordoned) lifts a cordon of the same O(owner); a cordon of somebody else is left and named in a warning.
    type: str
    choices: [drained, cordoned, uncordoned]
    default: drained
  owner:
    description:
      - The purpose of the cordon, such as V(upgrade) or V(maintenance).
      - A later run with the same purpose knows the cordon as its own, whatever O(run_id) it has.
    type: str
    default: node_drain
  run_id:
    description: Something that tells people which run set the cordon.
    type: str
  timeout:
    description:
      - Seconds after which the module fails, whatever is left.
      - A timeout is always a failure.
    type: float
    default: 600
  grace_period:
    description:
      - Seconds that each pod has to end. V(0) ends it at once.
      - Unset, each pod has its own.
    type: int
  daemonsets:
    description: Pods of existing DaemonSets are left running, or make the drain fail before it begins.
    type: str
    choices: [ignore, fail]
    default: ignore
  emptydir:
    description: Pods with an C(emptyDir) volume lose its data. They make the drain fail before it begins, or go.
    type: str
    choices: [fail, delete]
    default: fail
  unmanaged:
    description:
      - Pods without a controller, or whose DaemonSet is gone, do not come back. They make the drain fail before
        it begins, or go.
      - Such a pod with an C(emptyDir) volume needs O(emptydir=delete) too.
    type: str
    choices: [fail, delete]
    default: fail
  max_concurrent:
    description: How many evictions are asked for at the same moment.
    type: int
    default: 10
  last_replica_wait:
    description:
      - Seconds for which a controller's last Ready pod without a budget waits until another one is Ready elsewhere.
        After them it is evicted and named.
      - A controller with a single pod is not waited for, only named; so are pods that no other node can take.
      - V(0) does not wait.
    type: float
    default: 60
  on_failure:
    description: Whether a drain that failed leaves the node cordoned, or lifts its own cordon again.
    type: str
    choices: [keep_cordoned, restore]
    default: keep_cordoned
  force_uncordon:
    description: Lift the cordon even if it is somebody else's (O(state=uncordoned) only).
    type: bool
    default: false
seealso:
  - module: kubernetes.core.k8s_drain
  - module: clustercare.kubeadm.cluster_health
"""

EXAMPLES = r"""
- name: Empty worker2 for its upgrade
  clustercare.kubeadm.node_drain:
    name: worker2
    owner: upgrade
    emptydir: delete
    timeout: 900
    on_failure: restore
  delegate_to: localhost

- name: See what a drain would meet, without touching anything
  clustercare.kubeadm.node_drain:
    name: worker2
  check_mode: true
  register: drain
  delegate_to: localhost

- name: Let worker2 work again, if it was us who cordoned it
  clustercare.kubeadm.node_drain:
    name: worker2
    state: uncordoned
    owner: upgrade
  delegate_to: localhost
"""

RETURN = r"""
node:
  description: The node.
  returned: always
  type: str
  sample: worker2
cordon:
  description: The cordon before and after, each with whose it is. An owner of null means somebody outside.
  returned: always
  type: dict
  sample:
    before: {cordoned: false, owner: null, run: null, time: null}
    after: {cordoned: true, owner: upgrade, run: 20261122-0312, time: "2026-11-22T03:12:08Z"}
pods:
  description:
    - What became of each pod of the node.
    - C(action) is one of V(evicted), V(waited) (was terminating already), V(already_gone), V(finished), V(skipped),
      V(would_evict) (check mode), V(remaining), V(evicting) (asked, not yet gone) and V(failed).
    - C(seconds) counts from the eviction's acceptance until the pod was gone.
    - C(error) is what the last attempt met that did not succeed, also if a later one did.
  returned: when state is drained
  type: list
  elements: dict
  sample:
    - namespace: shop
      name: web-7c9d8b5c4-x2x7q
      uid: 6f1f8a0e-6a40-4c8e-8d5b-3a1d6f0d4c11
      controller: ReplicaSet/web-7c9d8b5c4
      action: evicted
      reason: ""
      risks: []
      budget: shop/web
      attempts: 1
      seconds: 1.9
      error: null
counts:
  description: Number of pods by action.
  returned: when state is drained
  type: dict
  sample: {evicted: 12, skipped: 2}
remaining:
  description: The pods that are still there after a failure, and why.
  returned: when state is drained
  type: list
  elements: str
  sample: ["shop/web-7c9d8b5c4-x2x7q (budget shop/web (needs 2 healthy, has 2, allows 0))"]
blocked_by:
  description: The budgets that hold pods back at the end (in check mode, now), with their numbers.
  returned: when state is drained
  type: list
  elements: dict
  sample:
    - {budget: shop/web, allowed: 0, current: 2, desired: 2, expected: 2, pods: [shop/web-7c9d8b5c4-x2x7q]}
at_risk:
  description: Pods whose eviction loses something, and what.
  returned: when state is drained
  type: list
  elements: dict
  sample:
    - {pod: shop/cache-0, risks: ["the only replica of StatefulSet/cache"]}
plan:
  description: By the numbers at the start, in which waves the pods can go, and which cannot.
  returned: when state is drained
  type: dict
  sample:
    waves: [[shop/web-7c9d8b5c4-x2x7q], [shop/web-7c9d8b5c4-p8f4z]]
    never: []
refused:
  description: The pods that made the drain refuse to begin.
  returned: when options forbid to evict a pod
  type: list
  elements: dict
  sample: [{pod: shop/batch, reason: no controller would bring it back}]
timed_out:
  description: Whether O(timeout) passed.
  returned: when state is drained
  type: bool
  sample: false
seconds:
  description: How long each part took.
  returned: when state is drained
  type: dict
  sample: {prepare: 0.06, cordon: 0.02, evict: 12.41}
api_calls:
  description: Number of requests sent, by verb.
  returned: always
  type: dict
  sample: {get: 3, list: 16, patch: 1, create: 12}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._cordon_run import cordoned, uncordoned
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_options import read_options
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_run import drained
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import auth_argument_spec, connect
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module

STATES = {"drained": drained, "cordoned": cordoned, "uncordoned": uncordoned}
STRINGS = {"type": "list", "elements": "str"}
RULE = {
    "selector": {"type": "str"},
    "namespaces": STRINGS,
    "namespace_selector": {"type": "str"},
    "behavior": {"type": "str", "choices": ["drain", "skip", "wait_completed"], "default": "drain"},
    "order": {"type": "int", "default": 0},
}


def drain(module: AnsibleModule) -> dict[str, Any]:
    """One call does the whole step."""
    options = read_options(module.params, module.check_mode)
    return STATES[module.params["state"]](connect(module, options.max_concurrent), options)


def main() -> None:
    run_module(
        drain,
        argument_spec={
            **auth_argument_spec(),
            "name": {"type": "str"},
            "names": STRINGS,
            "max_parallel_nodes": {"type": "int", "default": 1},
            "state": {"type": "str", "choices": list(STATES), "default": "drained"},
            "owner": {"type": "str", "default": "node_drain"},
            "run_id": {"type": "str"},
            "cordon_reason": {"type": "str"},
            "timeout": {"type": "float", "default": 600},
            "grace_period": {"type": "int"},
            "pod_selector": {"type": "str"},
            "namespaces": STRINGS,
            "exclude_namespaces": STRINGS,
            "rules": {"type": "list", "elements": "dict", "options": RULE},
            "daemonsets": {"type": "str", "choices": ["ignore", "fail", "evict"], "default": "ignore"},
            "emptydir": {"type": "str", "choices": ["fail", "delete"], "default": "fail"},
            "unmanaged": {"type": "str", "choices": ["fail", "delete"], "default": "fail"},
            "eviction": {"type": "str", "choices": ["evict", "delete"], "default": "evict"},
            "pdb_timeout": {"type": "float"},
            "on_pdb_timeout": {"type": "str", "choices": ["fail", "delete"], "default": "fail"},
            "max_concurrent": {"type": "int", "default": 10},
            "last_replica_wait": {"type": "float", "default": 60},
            "skip_terminating_older_than": {"type": "float"},
            "unreachable": {"type": "str", "choices": ["fail", "best_effort"], "default": "fail"},
            "wait_for_volume_detach": {"type": "bool", "default": False},
            "capacity_check": {"type": "str", "choices": ["off", "warn", "fail"], "default": "off"},
            "on_failure": {"type": "str", "choices": ["keep_cordoned", "restore"], "default": "keep_cordoned"},
            "force_uncordon": {"type": "bool", "default": False},
        },
        mutually_exclusive=[("name", "names")],
        required_one_of=[("name", "names")],
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
