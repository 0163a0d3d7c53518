#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_info
short_description: Say whether an etcd cluster is well, and what is wrong with it
version_added: 0.1.0
author:
  - clustercare.kubeadm authors (@clustercare)
description:
  - Runs on a control-plane host, finds its etcd by itself (from the running process, else from its static pod manifest
    or its systemd unit) and asks every member of the cluster through etcd's JSON gateway.
  - Every member must have started and answer, all must agree on one leader, none may be a learner, lag behind or
    raise an alarm, and a read that needs the majority must work through each of them.
  - Needs root, and nothing but Python's standard library; C(kubectl) on the host only when etcd does not run, or
    takes its settings from a configuration file.
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
  - clustercare.kubeadm.reconnecting
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
    platforms: posix
options:
  hash_check:
    description:
      - Also compare the hashes of all voting members' data at one revision, and tell in RV(etcd.problems) who differs.
      - Only this finds members whose data have parted, for instance because they were restored from different
        snapshots. Each member reads its whole database for it, at some hundred megabytes a second.
      - Needs etcd 3.5.10 or newer.
      - With O(wait=true) it is done at the end, when all else is well.
    type: bool
    default: false
    version_added: 0.2.0
  hash_timeout:
    description: Seconds that a member may take to hash its data.
    type: int
    default: 120
    version_added: 0.2.0
  wait:
    description:
      - Wait until RV(etcd.problems) is empty, O(passes) times in a row; fail when O(timeout) passes first.
      - While etcd restarts, a refused connection is a problem like any other.
      - Without it the module looks once and fails only when there is no etcd on the host.
    type: bool
    default: false
  timeout:
    description: Seconds to wait with O(wait=true).
    type: int
    default: 300
  passes:
    description: How many times in a row all must be well.
    type: int
    default: 3
  interval:
    description: Seconds between two looks.
    type: float
    default: 2
seealso:
  - module: clustercare.kubeadm.etcd_maintenance
  - module: clustercare.kubeadm.etcd_member
  - module: clustercare.kubeadm.etcd_snapshot
"""

EXAMPLES = r"""
- name: Look at etcd
  clustercare.kubeadm.etcd_info:
  become: true
  register: __etcd

- name: Show what is wrong
  ansible.builtin.debug:
    var: __etcd.etcd.problems

- name: Make sure that all members hold the same data
  clustercare.kubeadm.etcd_info:
    hash_check: true
  become: true
  register: __etcd
  failed_when: __etcd.etcd.problems | length > 0

- name: Wait until etcd is well again after its manifest was changed
  clustercare.kubeadm.etcd_info:
    wait: true
    timeout: 300
  become: true
"""

RETURN = r"""
etcd:
  description: The cluster as this host's member sees it, together with what the other members say.
  returned: always; empty members when etcd does not answer
  type: dict
  contains:
    endpoint:
      description: The URL that was asked.
      type: str
      sample: https://127.0.0.1:2379
    name:
      description: This host's member.
      type: str
      sample: cp1
    member_id:
      description: Its id, hexadecimal as C(etcdctl) writes it.
      type: str
      sample: 8e9e05c52164694d
    cluster_id:
      description: The cluster's id, hexadecimal. Every restore changes it.
      type: str
      sample: cdf818194e3a8c32
    version:
      description: Version of this member.
      type: str
      sample: 3.6.5
    data_dir:
      description: Where this member keeps its data.
      type: str
      sample: /var/lib/etcd
    members:
      description: All members, by name.
      type: list
      elements: dict
      contains:
        id:
          description: Decimal, as the gateway writes it.
          type: str
          sample: "10276657743932975437"
        id_hex:
          description: Hexadecimal, as C(etcdctl) and the logs write it.
          type: str
          sample: 8e9e05c52164694d
        name:
          description: Empty when the member has never started.
          type: str
          sample: cp1
        local:
          description: Whether it is the one on this host.
          type: bool
        peer_urls:
          description: Where its peers reach it.
          type: list
          elements: str
          sample: ["https://10.80.0.11:2380"]
        client_urls:
          description: Where clients reach it.
          type: list
          elements: str
          sample: ["https://10.80.0.11:2379"]
        learner:
          description: Whether it has no vote yet.
          type: bool
        started:
          description: Whether it has ever started.
          type: bool
        healthy:
          description: Whether nothing is wrong with this member.
          type: bool
        version:
          description: Its version; null when it does not answer.
          type: str
          sample: 3.6.5
        db_size:
          description: Bytes of its database file.
          type: int
          sample: 4214784
        db_size_in_use:
          description: Bytes of it that are in use.
          type: int
          sample: 2486272
        db_size_quota:
          description: Bytes it may grow to; 0 when etcd does not say (before 3.6, or when the default is not changed).
          type: int
          sample: 0
        raft_term:
          description: The election it takes part in.
          type: int
          sample: 2
        raft_index:
          description: Entries it has received.
          type: int
          sample: 2371
        raft_applied_index:
          description: Entries it has applied.
          type: int
          sample: 2371
        revision:
          description: The revision of its data.
          type: int
          sample: 2089
        leader_id:
          description: The leader it follows, decimal; V(0) for none.
          type: str
          sample: "10276657743932975437"
        lag:
          description: Entries that it has applied less than the best one; 0 when it does not answer.
          type: int
          sample: 0
        error:
          description: Why it does not answer; null when it does.
          type: str
    leader:
      description: Name of the leader; null without one.
      type: str
      sample: cp1
    alarms:
      description: Alarms that were raised and not yet disarmed.
      type: list
      elements: dict
      contains:
        member:
          description: The member's id, hexadecimal.
          type: str
        alarm:
          description: Its kind.
          type: str
          sample: NOSPACE
    revision:
      description: The revision of the data on this member.
      type: int
      sample: 2089
    raft_applied_index:
      description: Entries this member has applied.
      type: int
      sample: 2371
    db_size:
      description: Bytes of this member's database file.
      type: int
      sample: 4214784
    db_size_in_use:
      description: Bytes of it that are in use.
      type: int
      sample: 2486272
    db_size_quota:
      description: Bytes it may grow to; 0 when etcd (before 3.6) does not say.
      type: int
      sample: 2147483648
    quorum:
      description: The arithmetic of the majority, over voting members.
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
          description: How many more may fail. Negative when the majority is lost.
          type: int
          sample: 1
    majority:
      description:
        - Whether the cluster works at all, be it full or slow. A read that needs the majority goes through, or there is
          a leader and enough voting members answer.
      type: bool
      sample: true
    hash:
      description: The comparison of the members' data; null without O(hash_check).
      type: dict
      contains:
        revision:
          description: The revision at which all were compared, the highest that all of them have.
          type: int
          sample: 2089
        agree:
          description: Whether all voting members were compared and hold the same data.
          type: bool
          sample: true
        members:
          description: The hash of each voting member that answers.
          type: list
          elements: dict
          contains:
            name:
              description: The member.
              type: str
              sample: cp1
            hash:
              description: Its hash, as C(etcdctl endpoint hashkv) prints it; null when there is none.
              type: int
              sample: 1084519789
            compact_revision:
              description: Older data is compacted away and not hashed. V(-1) when there was no compaction.
              type: int
              sample: 1507
            error:
              description: Why there is no hash; null when there is one.
              type: str
    snapshot_refusal:
      description: Why a snapshot must not be taken of this member; null when it may.
      type: str
    problems:
      description: Everything that is wrong, a sentence each.
      type: list
      elements: str
      sample: []
    warnings:
      description: What should be known but stops nothing.
      type: list
      elements: str
      sample: []
    healthy:
      description: Whether there are no problems.
      type: bool
      sample: true
reconnected:
  description: The connection was lost in the middle of the task and made again (O(reconnect_timeout)).
  returned: when that happened
  type: bool
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
  sample: 0.1
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_watch import ACCESS_OPTIONS, info
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import RECONNECT, run_module


def look(module: AnsibleModule) -> dict[str, Any]:
    return info(module.params)


def main() -> None:
    run_module(
        look,
        argument_spec={
            **ACCESS_OPTIONS,
            "hash_check": {"type": "bool", "default": False},
            "hash_timeout": {"type": "int", "default": 120},
            "wait": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 300},
            **RECONNECT,
            "passes": {"type": "int", "default": 3, "no_log": False},
            "interval": {"type": "float", "default": 2},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
