#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_maintenance
short_description: Defragment etcd, disarm its alarms, move its leadership
version_added: 0.2.0
author:
  - clustercare.kubeadm authors (@clustercare)
description:
  - Runs on one control-plane host and cares for the whole etcd cluster through the JSON gateways of its members,
    with the certificates of this host. No C(etcdctl) is needed.
  - Refuses when the cluster is not fit for it, and says everything that is wrong. Run it on one host only, not on all
    masters at once.
  - Needs root.
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
  - clustercare.kubeadm.etcd
attributes:
  check_mode:
    support: full
    details: Looks, refuses what would be refused, tells what would be done, and writes nothing.
  diff_mode:
    support: none
    details: The result tells sizes before and after.
  idempotent:
    support: full
    details: With O(min_fragmentation=0) and O(min_gain=0) every run defragments.
  platform:
    support: full
    platforms: posix
options:
  state:
    description:
      - V(defragmented) writes the database of every voting member anew where O(min_fragmentation) and O(min_gain) say
        that it is worth it. One member after the other, the followers first; before the leader's turn the leadership
        moves to another member. Between two members it waits until the cluster is well, since a member that still
        catches up must not be defragmented. The alarm C(NOSPACE) is no hindrance, as this is part of its cure.
      - V(alarms_disarmed) takes back alarms whose reason is gone. C(NOSPACE) stays while a database is nearly as large
        as its quota. C(CORRUPT) stays while its member is still there and its data are not proven to be those of the
        others.
      - V(leader_moved) makes sure that this host's member does not lead, for instance before it is stopped. It fails
        when no other member is fit to lead.
    type: str
    choices: [defragmented, alarms_disarmed, leader_moved]
    required: true
  min_fragmentation:
    description: Defragment only what does not use at least this share of its file, in percent.
    type: float
    default: 45
  min_gain:
    description: Defragment only what gives back at least this many MiB.
    type: int
    default: 100
  allow_outage:
    description: Also defragment the only member of a cluster, though the whole API waits meanwhile.
    type: bool
    default: false
  hash_timeout:
    description: Seconds that a member may take to hash its data, which is only done for the alarm C(CORRUPT).
    type: int
    default: 120
  timeout:
    description:
      - Seconds for everything. One member is given 60 seconds and 20 more for each GiB of its database.
    type: int
    default: 900
seealso:
  - module: clustercare.kubeadm.etcd_info
  - module: clustercare.kubeadm.etcd_member
"""

EXAMPLES = r"""
- name: Give back the holes in all databases, one master doing it for all
  clustercare.kubeadm.etcd_maintenance:
    state: defragmented
  become: true
  run_once: true

- name: Take back the alarm after the database was compacted and defragmented
  clustercare.kubeadm.etcd_maintenance:
    state: alarms_disarmed
  become: true
  run_once: true

- name: Let another member lead before this master is restarted
  clustercare.kubeadm.etcd_maintenance:
    state: leader_moved
    timeout: 30
  become: true
"""

RETURN = r"""
defragmented:
  description: The members that were defragmented, in this order; in check mode those that would be.
  returned: with O(state=defragmented)
  type: list
  elements: dict
  contains:
    name:
      description: The member.
      type: str
      sample: cp2
    before:
      description: Bytes of its database before.
      type: int
      sample: 952107008
    after:
      description: Bytes of its database afterwards; in check mode what is in use now.
      type: int
      sample: 41943040
    seconds:
      description: Seconds that it took; not in check mode.
      type: float
      sample: 7.4
not_needed:
  description: The members that need no defragmentation.
  returned: with O(state=defragmented)
  type: list
  elements: dict
  contains:
    name:
      description: The member.
      type: str
      sample: cp1
    why:
      description: Why not.
      type: str
      sample: 12.5 % of its file are not in use, less than 45 %
left:
  description: Names of the members that were not reached before a failure.
  returned: failure of O(state=defragmented) after it began
  type: list
  elements: str
  sample: [cp1]
moved:
  description: How the leadership moved; null when it did not.
  returned: with O(state=leader_moved) and O(state=defragmented)
  type: dict
  contains:
    from:
      description: The member that led before.
      type: str
      sample: cp1
    to:
      description: The member that leads now, by its own word.
      type: str
      sample: cp2
disarmed:
  description: The alarms that were taken back.
  returned: with O(state=alarms_disarmed)
  type: list
  elements: dict
  contains:
    member:
      description: The member's id, hexadecimal.
      type: str
      sample: 8e9e05c52164694d
    alarm:
      description: Its kind.
      type: str
      sample: NOSPACE
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
  sample: 24.1
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_alarms import disarm_alarms
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_defragment import Worth, defragment
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_maintenance import leader_moved
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_watch import ACCESS_OPTIONS, wanted_access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline


def maintain(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    access = wanted_access(params)
    deadline = Deadline(params["timeout"], "timeout")
    if params["state"] == "leader_moved":
        return leader_moved(access, deadline, module.check_mode)
    if params["state"] == "alarms_disarmed":
        return disarm_alarms(access, deadline, params["hash_timeout"], module.check_mode)
    worth = Worth(params["min_fragmentation"], params["min_gain"] << 20)
    return defragment(access, worth, deadline, params["allow_outage"], module.check_mode)


def main() -> None:
    run_module(
        maintain,
        argument_spec={
            **ACCESS_OPTIONS,
            "state": {
                "type": "str",
                "choices": ["defragmented", "alarms_disarmed", "leader_moved"],
                "required": True,
            },
            "min_fragmentation": {"type": "float", "default": 45},
            "min_gain": {"type": "int", "default": 100},
            "allow_outage": {"type": "bool", "default": False},
            "hash_timeout": {"type": "int", "default": 120},
            "timeout": {"type": "int", "default": 900},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
