#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: maintenance_plan
short_description: Plan the maintenance of nodes
version_added: 0.2.0
description:
  - Decides what a maintenance does to which node and in which order, and says in words what stands in its way. Used by
    the role P(clustercare.kubeadm.node_maintenance#role), which collects what it needs from the hosts.
  - Reads the nodes from the API and changes nothing.
author: [clustercare.kubeadm authors (@clustercare)]
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - clustercare.kubeadm.attributes
  - clustercare.kubeadm.cluster_lock
attributes:
  check_mode:
    support: full
    details: Only reads; beside that, the lock of O(lock_run) is renewed outside of check mode.
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
  run_id:
    description: The name of this run, which becomes that of the maintenance unless an unfinished one goes on.
    type: str
    required: true
  targets:
    description: The inventory hosts to maintain.
    type: list
    elements: str
    required: true
  masters:
    description: All inventory hosts with a control plane.
    type: list
    elements: str
    required: true
  wish:
    description:
      - What is to be done. C(reboot) is V(never), V(if_needed) or V(always), C(tasks) a list of files,
        C(packages) whether packages are upgraded, C(nodes) for which hosts.
      - An unfinished maintenance with the same wish goes on; hosts that it has finished are left alone.
    type: dict
    required: true
  hosts:
    description: By inventory host, RV(clustercare.kubeadm.kubeadm_host_info#module:host).
    type: dict
    required: true
  records:
    description: By target, the answer of M(clustercare.kubeadm.maintenance_record).
    type: dict
    default: {}
  packages:
    description: By target, the answer of M(clustercare.kubeadm.os_packages) with C(state=available).
    type: dict
    default: {}
  etcd:
    description: By master, RV(clustercare.kubeadm.etcd_info#module:etcd).
    type: dict
    default: {}
  controller:
    description: The answer of the lookup plugin P(clustercare.kubeadm.controller#lookup).
    type: dict
    default: {}
  max_unavailable:
    description:
      - How many workers may be out of service at once; a number, or a percentage of the workers.
      - Other workers that are not Ready, or that somebody has cordoned, count.
    type: str
    default: "1"
  min_healthy:
    description: The share of all nodes that has to be Ready, such as V(51%).
    type: str
    default: 51%
  allow_outage:
    description: Go on although the API or etcd is away while a master is out of service.
    type: bool
    default: false
  fresh:
    description: Begin anew, also what an unfinished maintenance with the same wish has done already.
    type: bool
    default: false
  batch:
    description:
      - Only say whether these targets may be taken out of service now, and fail when they may not.
      - When there is a master among them, the masters' API servers are asked again.
    type: list
    elements: str
  timeout:
    description: Seconds that the API may be away.
    type: float
    default: 300
seealso:
  - module: clustercare.kubeadm.node_drain
"""

EXAMPLES = r"""
- name: Plan
  clustercare.kubeadm.maintenance_plan:
    run_id: 20261122T031500Z-maintenance
    targets: [worker1, worker2]
    masters: [master1]
    wish: {reboot: always}
    hosts: "{{ hostvars | clustercare.kubeadm.collect(groups['all'], 'looked.host') }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
plan:
  description: What will be done; nothing may be done while there are C(refusals). Not with O(batch).
  returned: success
  type: dict
  contains:
    maintenance:
      description: The maintenance's name, under which hosts note what is done.
      type: str
      sample: 20261122T031500Z-maintenance
    resumed:
      description: Whether an earlier run began it.
      type: bool
    order:
      description: >-
        The C(masters), one by one, then the C(workers), C(max_unavailable) at a time; what was begun already or is not
        Ready comes first.
      type: dict
      sample: {masters: [], max_unavailable: 1, workers: [worker1, worker2]}
    hosts:
      description: >-
        By target, its C(node), whether there is something C(todo), C(why), and how far it is (C(worked), C(rebooted),
        C(returned), C(finished)).
      type: dict
    nothing_to_do:
      description: Whether no target needs anything.
      type: bool
    refusals:
      description: What stands in the way, a sentence each.
      type: list
      elements: str
      sample: []
    api_servers:
      description: The masters' API servers, as C(address:port).
      type: list
      elements: str
      sample: ["10.80.0.11:6443"]
    text:
      description: The plan for people.
      type: str
refusals:
  description: With O(batch), what stands in the way of taking these hosts out of service.
  returned: with O(batch)
  type: list
  elements: str
  sample: []
api_calls:
  description: Number of requests sent, by verb.
  returned: success
  type: dict
  sample: {get: 1, list: 1}
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
  sample: 0.1
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import (
    Api,
    Unreachable,
    auth_argument_spec,
    connect,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._lock import LOCK_RUN, renew
from ansible_collections.clustercare.kubeadm.plugins.module_utils._maintenance_plan import (
    Request,
    View,
    api_servers,
    decide,
    gate,
    with_answers,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

_SERVER_TIMEOUT = 5.0


def plan(module: AnsibleModule) -> dict[str, Any]:
    """Look at the API, and decide."""
    params = module.params
    api, deadline = connect(module), Deadline(params["timeout"], "timeout")
    renew(api, params["lock_run"], deadline, module.check_mode)
    request = Request(
        run=params["run_id"],
        targets=params["targets"],
        masters=params["masters"],
        wish=params["wish"],
        max_unavailable=params["max_unavailable"],
        min_healthy=params["min_healthy"],
        allow_outage=params["allow_outage"],
        fresh=params["fresh"],
    )
    view = View(
        request=request,
        hosts=params["hosts"],
        records=params["records"],
        packages=params["packages"],
        etcd=params["etcd"],
        nodes=api.list("/api/v1/nodes", deadline),
        uid=str(api.get("/api/v1/namespaces/kube-system", deadline)["metadata"]["uid"]),
        controller=params["controller"],
        pods=api.list("/api/v1/pods", deadline) if params["controller"].get("in_pod") else [],
    )
    if params["batch"] is None:
        return {"plan": decide(view), "api_calls": api.calls}
    if set(params["batch"]) & set(params["masters"]) and not params["allow_outage"]:
        view = with_answers(view, {name: _answers(api, at) for name, at in api_servers(view).items()})
    refusals = gate(view, params["batch"])
    if refusals:
        named = ", ".join(params["batch"])
        raise CareError(f"{named} cannot be taken out of service now. {' '.join(refusals)}", refusals=refusals)
    return {"refusals": [], "api_calls": api.calls}


def _answers(api: Api, server: str) -> bool:
    """Whether this API server is ready now."""
    try:
        return api.direct(server).ask("get", "/readyz", timeout=_SERVER_TIMEOUT).status == 200
    except Unreachable:
        return False


def main() -> None:
    run_module(
        plan,
        argument_spec={
            **auth_argument_spec(),
            "run_id": {"type": "str", "required": True},
            "targets": {"type": "list", "elements": "str", "required": True},
            "masters": {"type": "list", "elements": "str", "required": True},
            "wish": {"type": "dict", "required": True},
            "hosts": {"type": "dict", "required": True},
            "records": {"type": "dict", "default": {}},
            "packages": {"type": "dict", "default": {}},
            "etcd": {"type": "dict", "default": {}},
            "controller": {"type": "dict", "default": {}},
            "max_unavailable": {"type": "str", "default": "1"},
            "min_healthy": {"type": "str", "default": "51%"},
            "allow_outage": {"type": "bool", "default": False},
            "fresh": {"type": "bool", "default": False},
            "batch": {"type": "list", "elements": "str"},
            "timeout": {"type": "float", "default": 300},
            **LOCK_RUN,
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
