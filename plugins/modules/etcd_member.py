#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_member
short_description: Add a learner to an etcd cluster, promote it, or remove a member
version_added: 0.2.0
author:
  - clustercare.kubeadm authors (@clustercare)
description:
  - Runs on a control-plane host that remains a member, and changes the membership through that member's JSON gateway.
    No C(etcdctl) is needed.
  - Every change is tried until the list of members shows it, after a read that needs the majority. So an answer that
    was lost does not matter, and neither does an election in between.
  - C(kubeadm join) adds, starts and promotes its member by itself. What it cannot do is to remove the member of a
    machine that is gone, which has to be done before a new machine joins.
  - Needs root.
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
  - clustercare.kubeadm.etcd
attributes:
  check_mode:
    support: full
    details: Looks, refuses what would be refused, and writes nothing.
  diff_mode:
    support: none
    details: The result tells the members.
  idempotent:
    support: full
  platform:
    support: full
    platforms: posix
options:
  state:
    description:
      - V(learner) adds a member that has no vote yet. Refused when the cluster is not well or has a learner already,
        as etcd takes one at a time. A member that is already there stays as it is, also one that has its vote.
      - V(promoted) gives a learner its vote, as soon as it is in sync with the leader.
      - V(absent) removes a member. Refused when too few of the others are well to have the majority afterwards, and for
        this host's own member. A member that leads hands the leadership over first. One that is down may go.
    type: str
    choices: [learner, promoted, absent]
    required: true
  name:
    description: The member's name. kubeadm gives it that of the node.
    type: str
    required: true
  peer_url:
    description:
      - The URL at which its peers reach it, such as V(https://10.0.0.13:2380) or V(https://[fd00::13]:2380).
      - Needed with O(state=learner) and O(state=absent). When both O(name) and O(peer_url) are given, they must belong
        to the same member. Only a member that has never started has no name yet, and is found by its URL alone.
    type: str
  timeout:
    description:
      - Seconds until the list of members must show the change.
      - With O(state=promoted) this includes the time that the learner needs to receive the data.
    type: int
    default: 120
seealso:
  - module: clustercare.kubeadm.etcd_info
  - module: clustercare.kubeadm.etcd_maintenance
"""

EXAMPLES = r"""
- name: Remove the member of a master that is gone for good
  clustercare.kubeadm.etcd_member:
    state: absent
    name: cp3
    peer_url: https://10.0.0.13:2380
  become: true
  delegate_to: cp1

- name: Announce the new member, and learn what it has to be started with
  clustercare.kubeadm.etcd_member:
    state: learner
    name: cp3
    peer_url: https://10.0.0.13:2380
  become: true
  delegate_to: cp1
  register: __etcd_added

- name: Show the flags for the new etcd
  ansible.builtin.debug:
    msg: "--initial-cluster={{ __etcd_added.initial_cluster }} --initial-cluster-state=existing"

- name: Give it its vote once it has all data
  clustercare.kubeadm.etcd_member:
    state: promoted
    name: cp3
    timeout: 600
  become: true
  delegate_to: cp1
"""

RETURN = r"""
member:
  description: The member as it is now; null when it is not there, which in check mode may be what is about to change.
  returned: success
  type: dict
  sample: {"id_hex": "9a1f3c0b7d2e4f60", "name": "cp3", "peer_urls": ["https://10.0.0.13:2380"], "learner": true}
members:
  description: All members afterwards, in the form that M(clustercare.kubeadm.etcd_info) returns them.
  returned: success
  type: list
  elements: dict
initial_cluster:
  description: What a member that joins has to be started with (C(--initial-cluster), with
    C(--initial-cluster-state=existing)).
  returned: success
  type: str
  sample: cp1=https://10.0.0.11:2380,cp2=https://10.0.0.12:2380,cp3=https://10.0.0.13:2380
removed:
  description: The member that was removed, as it was; null when none was.
  returned: success
  type: dict
  sample: {"id_hex": "9a1f3c0b7d2e4f60", "name": "cp3", "peer_urls": ["https://10.0.0.13:2380"], "learner": false}
quorum:
  description: The arithmetic of the majority afterwards, over voting members.
  returned: success
  type: dict
  contains:
    members:
      description: Voting members.
      type: int
      sample: 3
    needed:
      description: How many of them must be well.
      type: int
      sample: 2
    healthy:
      description: How many of them are well.
      type: int
      sample: 3
    tolerates:
      description: How many more may fail.
      type: int
      sample: 1
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
  sample: 0.6
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_member import (
    Wanted,
    add_learner,
    promote,
    remove,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_watch import ACCESS_OPTIONS, wanted_access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

STATES = {"learner": add_learner, "promoted": promote, "absent": remove}


def change(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    wanted = Wanted(params["name"], params["peer_url"])
    deadline = Deadline(params["timeout"], "timeout")
    return STATES[params["state"]](wanted_access(params), wanted, deadline, module.check_mode)


def main() -> None:
    run_module(
        change,
        argument_spec={
            **ACCESS_OPTIONS,
            "state": {"type": "str", "choices": ["learner", "promoted", "absent"], "required": True},
            "name": {"type": "str", "required": True},
            "peer_url": {"type": "str"},
            "timeout": {"type": "int", "default": 120},
        },
        required_if=[("state", "learner", ["peer_url"]), ("state", "absent", ["peer_url"])],
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
