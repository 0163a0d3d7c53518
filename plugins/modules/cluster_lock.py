#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_lock
short_description: Hold the one lock of a cluster while a run works on it
version_added: 0.2.0
description:
  - Keeps two runs from working on one cluster at the same time. The lock is the Lease C(clustercare) in the namespace
    C(kube-system); its annotations C(clustercare.io/*) tell people which run holds it, from where and since when.
  - Modules of the run renew it (option O(clustercare.kubeadm.node_drain#module:lock_run)). A holder that does not come
    back within O(ttl) loses it. Times are those of the API server's clock, so the clocks of controllers need not agree.
  - A lock of the same O(purpose) whose process is proven to be gone is taken over at once. That can be proven on the
    machine on which the process ran, with O(controller).
  - Every other lock is refused, in a sentence that says whose it is and how to take it over.
author: [clustercare.kubeadm authors (@clustercare)]
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - clustercare.kubeadm.attributes
attributes:
  check_mode:
    support: full
    details: Says what it would do, and refuses what it would refuse; takes and gives back nothing.
  diff_mode:
    support: none
    details: The result names the holder before and after.
  idempotent:
    support: full
    details: A run's own lock is renewed, which is not counted as a change.
  platform:
    support: full
    platforms: posix
    details: Runs where the Kubernetes client is, usually on the controller.
requirements:
  - kubernetes >= 24.2.0 (Python)
options:
  state:
    description:
      - V(held) takes the lock, or renews it when it is this run's own.
      - V(renewed) renews it before a long step, and fails when it is not this run's own any more.
      - V(released) gives it back. One that is not there, or is not this run's, is left and named.
    type: str
    choices: [held, renewed, released]
    default: held
  purpose:
    description: What the run does, such as V(upgrade) or V(maintenance).
    type: str
    required: true
  run_id:
    description: The run, by a name that no other run has.
    type: str
    required: true
  ttl:
    description: Seconds after which a lock that was not renewed is anybody's.
    type: int
    default: 900
  longest_deadline:
    description:
      - The longest time, in seconds, that a single step of the run may take. O(ttl) has to be longer, or the lock
        could be lost in the middle of a step.
    type: int
    default: 0
  takeover:
    description: The run whose lock may be taken over, whatever it does.
    type: str
  controller:
    description:
      - The answer of the lookup plugin P(clustercare.kubeadm.controller#lookup).
      - Without it, the lock of a dead run is only taken over when its O(ttl) is over.
    type: dict
    default: {}
  timeout:
    description: Seconds that the API may be away.
    type: float
    default: 60
seealso:
  - plugin: clustercare.kubeadm.controller
    plugin_type: lookup
  - module: clustercare.kubeadm.node_drain
"""

EXAMPLES = r"""
- name: Lock the cluster
  clustercare.kubeadm.cluster_lock:
    purpose: maintenance
    run_id: "{{ my_run_id }}"
    longest_deadline: 600
    takeover: "{{ cluster_lock_takeover | default('') }}"
    controller: "{{ lookup('clustercare.kubeadm.controller') }}"
  delegate_to: localhost
  run_once: true

- name: Drain a node while the lock is ours
  clustercare.kubeadm.node_drain:
    name: worker2
    timeout: 600
    lock_run: "{{ my_run_id }}"
  delegate_to: localhost

- name: Keep the lock before a long step, and stop if it was lost
  clustercare.kubeadm.cluster_lock:
    state: renewed
    purpose: maintenance
    run_id: "{{ my_run_id }}"
  delegate_to: localhost

- name: Give the lock back
  clustercare.kubeadm.cluster_lock:
    state: released
    purpose: maintenance
    run_id: "{{ my_run_id }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
held:
  description: Whether the run holds the lock now.
  returned: success, and when the lock is refused
  type: bool
  sample: true
action:
  description:
    - V(acquired), V(renewed) or V(taken_over); V(renewed) with O(state=renewed); V(released), V(absent) or V(foreign)
      with O(state=released).
    - In check mode, what would be done.
  returned: success
  type: str
  sample: taken_over
reason:
  description: Why the run could get the lock.
  returned: when O(state=held), on success
  type: str
  sample: its process 4242 on bastion1 is gone
holder:
  description: Who holds the lock afterwards; null for nobody, and for a lock that check mode would have taken.
  returned: success, and when the lock is refused
  type: dict
  sample: &holder
    purpose: maintenance
    run: 20261122T031500Z-maintenance
    host: bastion1
    since: "2026-11-22T03:15:00Z"
    until: "2026-11-22T03:31:12Z"
    ttl: 900
previous:
  description: Who held a lock that was taken over; else null.
  returned: when O(state=held), on success
  type: dict
  sample: *holder
api_calls:
  description: Number of requests sent, by verb.
  returned: success
  type: dict
  sample: {get: 1, create: 1}
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
  sample: 0.2
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import auth_argument_spec, connect
from ansible_collections.clustercare.kubeadm.plugins.module_utils._lock import Claim, acquire, keep, release
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

STATES = {"held": acquire, "renewed": keep, "released": release}


def lock(module: AnsibleModule) -> dict[str, Any]:
    """One look, one decision, one write."""
    params = module.params
    for option in ("purpose", "run_id"):
        if not params[option].strip():
            raise CareError(f"The option {option} is empty; nobody could tell whose the lock is.", held=False)
    if params["ttl"] < 1 or params["ttl"] <= params["longest_deadline"]:
        raise CareError(
            f"The lock would end after {params['ttl']} s (option ttl), but a single step of this run may take "
            f"{params['longest_deadline']} s (option longest_deadline); make ttl longer than that.",
            held=False,
            holder=None,
        )
    claim = Claim.of(params["purpose"], params["run_id"], params["ttl"], params["takeover"], params["controller"])
    api = connect(module)
    deadline = Deadline(params["timeout"], "timeout")
    return {**STATES[params["state"]](api, claim, deadline, module.check_mode), "api_calls": api.calls}


def main() -> None:
    run_module(
        lock,
        argument_spec={
            **auth_argument_spec(),
            "state": {"type": "str", "choices": list(STATES), "default": "held"},
            "purpose": {"type": "str", "required": True},
            "run_id": {"type": "str", "required": True},
            "ttl": {"type": "int", "default": 900},
            "longest_deadline": {"type": "int", "default": 0},
            "takeover": {"type": "str"},
            "controller": {"type": "dict", "default": {}},
            "timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
