#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: node_drain
short_description: Drain, cordon or uncordon nodes, and prove it
version_added: 0.1.0
description:
  - Empties nodes through the eviction API and waits until every pod is really gone, or fails saying which pod
    is left and what holds it.
  - The cordon has to succeed and to be read back before anything is evicted. It carries its owner in the annotation
    C(clustercare.io/cordon), set in the same request, and only a cordon of the same owner is lifted again.
  - A cordon that an earlier run set for the same O(owner) is taken over. The drain which that run may have left behind
    sees it within two seconds and asks no further pod to leave. Two drains of one node by the same user never work at
    the same time on the machine that runs the module (the locks are in C(~/.ansible/clustercare/drain)); the second
    waits for the first one's end.
  - Pods are known by their UID, so a StatefulSet's pod that came back under its name elsewhere is not touched.
  - Evictions run side by side, as many under one PodDisruptionBudget as it allows at the moment. A pod that its budget
    holds back is tried again as soon as the budget has room; the budget is named with its numbers when it never has.
  - Nobody's last Ready replica goes first. Where no budget guards a controller's pods and all its Ready ones are about
    to go, one of them stays until another one is Ready elsewhere and receives requests of its Services. A replica on a
    node that another drain of this collection is emptying does not count as one that stays.
  - Static pods, pods of DaemonSets and finished pods stay where they are. Pods that are terminating already, finished
    or not, are waited for until they are gone.
  - A restarting API server is outlived until O(timeout).
  - Ended by a signal (Ctrl-C), nothing is evicted any more; the cordon is treated as O(on_failure) says.
author: [clustercare.kubeadm authors (@clustercare)]
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - clustercare.kubeadm.attributes
  - clustercare.kubeadm.cluster_lock
attributes:
  check_mode:
    support: full
    details:
      - Sends no write request at all. Gives the same verdicts, the waves in which the pods would go, and the pods
        that would find no place on the other nodes.
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
    description: The node's name in the cluster. Exactly one of O(name) and O(names) is needed.
    type: str
  names:
    description:
      - The nodes' names. All of them are cordoned before the first is drained, so that no pod moves twice.
      - When one fails, no other one is begun; those already under way go on to their end.
      - With O(lock_run) the lock is renewed whenever a further node's turn comes; a run that has lost it ends there.
    type: list
    elements: str
    version_added: 0.2.0
  max_parallel_nodes:
    description: How many of O(names) are drained at the same time.
    type: int
    default: 1
    version_added: 0.2.0
  state:
    description:
      - V(drained) cordons the node and evicts its pods.
      - V(cordoned) only keeps new pods away. A cordon of the same O(owner) gets a new O(run_id) when one is given.
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
    description:
      - The name of the run that sets the cordon, for people and for drains that a dead run left behind.
      - Unset, each call makes up its own.
    type: str
  cordon_reason:
    description: A few words for people, noted beside the owner on the node.
    type: str
    version_added: 0.2.0
  timeout:
    description:
      - Seconds for the drain of one node, after which the module fails, whatever is left. For setting all cordons, and
        with the other states, for all nodes together.
      - A timeout is always a failure.
    type: float
    default: 600
  grace_period:
    description:
      - Seconds that each pod has to end. V(0) ends it at once, which is warned of.
      - Unset, each pod has its own.
    type: int
  pod_selector:
    description:
      - Only pods with these labels are looked at, in the words of C(kubectl -l), such as V(app=web,tier in (a,b\)).
      - The API server selects, so other pods do not appear in the result.
    type: str
    version_added: 0.2.0
  namespaces:
    description: Only pods of these namespaces go (unset, of all); the others are told as skipped.
    type: list
    elements: str
    version_added: 0.2.0
  exclude_namespaces:
    description: Pods of these namespaces stay.
    type: list
    elements: str
    version_added: 0.2.0
  rules:
    description:
      - How single groups of pods are treated; the first rule that matches a pod counts.
      - Rules do not concern static pods, nor pods of DaemonSets with O(daemonsets=ignore). With O(daemonsets=fail)
        those that a rule skips do not make the drain fail. O(rules[].order) does not count for pods of DaemonSets.
    type: list
    elements: dict
    version_added: 0.2.0
    suboptions:
      selector:
        description: Labels of the pods, in the words of C(kubectl -l). Unset, all pods match.
        type: str
      namespaces:
        description: Names of the pods' namespaces. Unset, all namespaces match.
        type: list
        elements: str
      namespace_selector:
        description: Labels of the pods' namespaces, as they are at the start. Excludes O(rules[].namespaces).
        type: str
      behavior:
        description:
          - V(drain) lets them go, as without a rule.
          - V(skip) leaves them where they are.
          - V(wait_completed) does not ask them to leave, but waits until they have ended by themselves.
        type: str
        choices: [drain, skip, wait_completed]
        default: drain
      order:
        description:
          - Pods with a higher number go when those with a lower one are gone (only with V(drain)).
          - Pods without a rule have V(0).
        type: int
        default: 0
  daemonsets:
    description:
      - Pods of existing DaemonSets are left running, or make the drain fail before it begins, or go when all
        other pods are gone, those that complete by themselves (O(rules[].behavior=wait_completed)) included.
      - A DaemonSet makes a new pod on the node at once, also on a cordoned one; it is left there.
    type: str
    choices: [ignore, fail, evict]
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
  eviction:
    description:
      - V(evict) asks the eviction API, which keeps budgets.
      - V(delete) deletes pods without asking any budget.
    type: str
    choices: [evict, delete]
    default: evict
    version_added: 0.2.0
  pdb_timeout:
    description:
      - Seconds for which a budget may let none of the node's pods go. Then O(on_pdb_timeout) counts.
      - Unset, only O(timeout) ends the waiting.
    type: float
    version_added: 0.2.0
  on_pdb_timeout:
    description: The drain fails at once, or the pods that the budget holds back are deleted past it and named.
    type: str
    choices: [fail, delete]
    default: fail
    version_added: 0.2.0
  max_concurrent:
    description: How many evictions are asked for at the same moment.
    type: int
    default: 10
  last_replica_wait:
    description:
      - Seconds for which a controller's last Ready pod without a budget waits until another one is Ready elsewhere.
        After them it is evicted and named.
      - A controller with a single pod is not waited for, only named; so are pods that no other node can take.
        Single pods are named under a budget, too.
      - V(0) does not wait.
    type: float
    default: 60
  skip_terminating_older_than:
    description:
      - Pods that have been terminating for more seconds than this, by the API server's clock, are not waited for,
        whoever asked them to leave.
      - Unset, they are.
    type: float
    version_added: 0.2.0
  unreachable:
    description:
      - What to do with a node whose kubelet is silent (Ready is C(Unknown)), where nobody ends pods.
      - V(fail) refuses it before anything is touched, and stops when a node has been silent for 30 seconds meanwhile.
      - V(best_effort) asks the pods to leave with one second to end, budgets kept, and does not wait for those that
        are terminating. Their containers may still run.
    type: str
    choices: [fail, best_effort]
    default: fail
    version_added: 0.2.0
  wait_for_volume_detach:
    description:
      - Wait also until volumes are detached from the node, except those of pods that stay there.
    type: bool
    default: false
    version_added: 0.2.0
  capacity_check:
    description:
      - Whether to compute beforehand, from requests, taints, selectors and affinity, which pods would find no place
        on the other nodes, and to warn of them or to refuse the drain. Pod affinity, spread and the node affinity of
        PersistentVolumes are not considered.
      - Check mode always computes and returns it, where nodes may be listed.
    type: str
    choices: ['off', warn, fail]
    default: 'off'
    version_added: 0.2.0
  on_failure:
    description:
      - Whether a drain that failed leaves the node cordoned, or lifts its own cordon again.
      - A cordon that was there before is left in both cases, unless this call took it over from an earlier run of the
        same O(owner).
    type: str
    choices: [keep_cordoned, restore]
    default: keep_cordoned
  force_uncordon:
    description: Lift the cordon even if it is somebody else's (O(state=uncordoned) only).
    type: bool
    default: false
notes:
  - The rights that it needs in the cluster are listed, each with what it is for, in C(docs/draining.md).
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

- name: Empty a rack, two nodes at a time, databases last
  clustercare.kubeadm.node_drain:
    names: "{{ groups.rack7 }}"
    max_parallel_nodes: 2
    cordon_reason: new power supplies, ask Ada
    rules:
      - selector: app=postgres
        namespaces: [db]
        order: 10
      - namespace_selector: team=batch
        behavior: wait_completed
    capacity_check: fail
    timeout: 1800
  delegate_to: localhost
  run_once: true

- name: Give budgets five minutes, then go past them
  clustercare.kubeadm.node_drain:
    name: worker2
    pdb_timeout: 300
    on_pdb_timeout: delete
  delegate_to: localhost

- name: Let worker2 work again, if it was us who cordoned it
  clustercare.kubeadm.node_drain:
    name: worker2
    state: uncordoned
    owner: upgrade
  delegate_to: localhost
"""

RETURN = r"""
nodes:
  description:
    - For each node what follows below, except RV(api_calls). RV(counts), RV(remaining), RV(blocked_by) and RV(at_risk)
      are returned for all of them together, too.
  returned: with O(names)
  type: dict
  sample: {worker1: {node: worker1, outcome: drained, changed: true}, worker2: {node: worker2, outcome: not_begun}}
node:
  description: The node.
  returned: with O(name)
  type: str
  sample: worker2
outcome:
  description: V(drained), V(failed), V(not_begun) (the call ended before its turn), or V(would_drain) in check mode.
  returned: with O(name), when state is drained
  type: str
  sample: drained
cordon:
  description:
    - The cordon before and after, each with whose it is. An owner of null means somebody outside.
    - A run in C(before) that differs from the one in C(after) was taken over.
  returned: with O(name)
  type: dict
  sample:
    before: {cordoned: false, owner: null, run: null, host: null, time: null, reason: null}
    after: {cordoned: true, owner: upgrade, run: 20261122-0312, host: ctl, time: "2026-11-22T03:12:08Z", reason: null}
pods:
  description:
    - What became of each pod of the node.
    - C(action) is one of V(evicted), V(deleted), V(waited) (somebody else let it go), V(already_gone) (gone before
      it was asked), V(finished), V(skipped), V(left_terminating) (not waited for), V(would_evict) and V(would_wait)
      (check mode), V(remaining), V(evicting) and V(deleting) (asked, not yet gone) and V(failed).
    - C(seconds) counts from the eviction's acceptance until the pod was gone; for pods that were not asked, from when
      they were first seen.
    - C(error) is what the last attempt met that did not succeed, also if a later one did.
  returned: with O(name), when state is drained
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
  description:
    - Pods whose leaving loses something, and what. Bare pods, data in emptyDir, ephemeral, hostPath and local volumes,
      single replicas, last replicas that were not waited for, pods that were deleted past their budget.
  returned: when state is drained
  type: list
  elements: dict
  sample:
    - {pod: shop/cache-0, risks: ["the only replica of StatefulSet/cache"]}
plan:
  description:
    - By the numbers at the start, in which waves the pods can go (a wave begins when the budgets have room again, or
      when those of a lower order are gone), and which never can, and why. Each node is looked at alone, so nodes that
      are emptied at the same time (O(max_parallel_nodes)) share the budgets' room.
    - C(no_place) has the pods that would find no place, in check mode and with O(capacity_check).
  returned: with O(name), when state is drained
  type: dict
  sample:
    waves: [[shop/web-7c9d8b5c4-x2x7q], [shop/web-7c9d8b5c4-p8f4z]]
    never: []
    no_place: [{pod: shop/big-0, reason: "too little memory free on worker1, worker3"}]
refused:
  description: The pods that made the drain refuse to begin, or stop.
  returned: with O(name), when there are such pods
  type: list
  elements: dict
  sample: [{pod: shop/batch, reason: no controller would bring it back}]
timed_out:
  description: Whether O(timeout) passed.
  returned: with O(name), when state is drained
  type: bool
  sample: false
volumes_attached:
  description: Volumes that were still attached when last looked at.
  returned: with O(name), when state is drained
  type: list
  elements: str
  sample: []
seconds:
  description:
    - How long each part took. C(evict) ends with the last pod that was asked to leave, C(wait) with the last one
      that was gone, C(volumes) with their detachment.
  returned: with O(name), when state is drained
  type: dict
  sample: {prepare: 0.06, cordon: 0.02, evict: 2.41, wait: 10.0}
api_calls:
  description: Number of requests sent, by verb.
  returned: success, and when a drain failed
  type: dict
  sample: {get: 3, list: 16, patch: 1, create: 12}
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
  sample: 1.2
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._cordon_run import cordoned, uncordoned
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_options import read_options
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_run import drained
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import auth_argument_spec, connect
from ansible_collections.clustercare.kubeadm.plugins.module_utils._lock import LOCK_RUN, renew
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

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
    api = connect(module, options.max_concurrent)
    renew(api, module.params["lock_run"], Deadline(options.timeout, "timeout"), options.check)
    return STATES[module.params["state"]](api, options)


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
            **LOCK_RUN,
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
