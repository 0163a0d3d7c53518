#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_snapshot
short_description: Take, prove, prune and restore snapshots of etcd
version_added: 0.1.0
author:
  - clustercare.kubeadm authors (@clustercare)
description:
  - Streams a snapshot from the host's own etcd member through its JSON gateway, with Python's standard library alone;
    no C(etcdctl) is needed.
  - The snapshot is put in place only when it is proven. The SHA-256 at its end agrees, every page of its database
    can be read and lies where it belongs, it has members, and its revision is not older than etcd's was just before.
    Otherwise nothing is left behind. C(etcdctl snapshot save) does none of this.
  - A member that is a learner, far behind the others or under the alarm C(CORRUPT) is refused. A lost majority is not a
    reason to refuse, as the member at hand may hold all there is.
  - The cluster's CA certificate says which cluster a snapshot is of, since every restore gives etcd another cluster id.
    Its digest is in the sidecar; without a sidecar it is read from the snapshot itself.
  - With O(fetch_to) the file is also streamed to the controller, in pieces and through the task's own connection and
    privilege escalation, so that memory stays small on both sides and the SSH user can never read it.
    It is proven there once more.
  - Needs root.
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
  - clustercare.kubeadm.etcd
attributes:
  check_mode:
    support: full
    details: Looks at everything, refuses what would be refused, and writes nothing.
  diff_mode:
    support: none
    details: A snapshot has no meaningful difference.
  idempotent:
    support: partial
    details: With O(state=saved) only when O(name) or O(max_age) is given. All other states are idempotent.
  platform:
    support: full
    platforms: posix
options:
  state:
    description:
      - V(saved) makes sure that there is a proven snapshot.
      - V(verified) proves O(name), or all snapshots in O(dir), and fails when one is not good. The digest at its end
        must agree, every page must be readable and in its place, and it must be the one that its sidecar describes.
        Also proves what other tools have made. Changes nothing, and needs neither etcd nor any program.
      - V(absent) removes the snapshot O(name) with its sidecar.
      - V(pruned) removes old snapshots from O(dir), see O(keep_last). The newest good one of each cluster always
        stays, and when none is good, all stay. It proves the newest ones until one is good; of the older ones, size
        and revision must be those that the sidecar tells. What is damaged counts for nothing and stays, too.
      - V(restored) makes O(data_dir), the data directory of one member, out of the snapshot O(name), with etcd's own
        C(etcdutl). It neither stops nor starts anything, and never touches a directory that exists. The members of a
        cluster must all be made from the same snapshot with the same O(initial_cluster) and O(initial_cluster_token).
      - V(absent) and V(pruned) remove only what carries the sidecar of this module.
    type: str
    choices: [saved, verified, absent, pruned, restored]
    default: saved
  dir:
    description: Directory on the host. Made with mode 0700; refused when others may write to it.
    type: path
    default: /var/lib/clustercare/backups
  name:
    description:
      - File name of the snapshot. A sidecar file with C(.json) appended describes it.
      - When not given, O(state=saved) takes C(etcd-MEMBER-TIME.db) with the time in UTC.
      - Needed with O(state=absent) and O(state=restored).
    type: str
  max_age:
    description:
      - With O(state=saved), take no new snapshot when there is one in O(dir) that is not older than so many seconds.
        It must be of the same cluster, not from before a restore, and is proven anew.
    type: int
    version_added: 0.2.0
  method:
    description:
      - How O(state=saved) brings the snapshot. What comes is proven in the same way.
      - V(gateway) streams it with Python alone, through etcd's JSON gateway.
      - V(etcdctl) runs C(etcdctl), out of etcd's own container or from the host. It is about twice as fast, and it is
        the only way where etcd's certificate lacks the usage clientAuth or the gateway is switched off.
      - V(auto) takes C(etcdctl) for 16 MiB and more, and where the gateway does not work; else the gateway.
    type: str
    choices: [auto, gateway, etcdctl]
    default: auto
    version_added: 0.2.0
  fetch_to:
    description:
      - With O(state=saved), the directory on the controller that gets a copy, under the same name, with its sidecar.
      - Made with mode 0700; refused when others may write to it. A relative path starts at the playbook's directory.
    type: str
  keep_last:
    description:
      - With O(state=pruned), keep so many of the newest snapshots, whenever they were taken.
      - What one of the four rules keeps is kept. Each rule counts only hours, days and weeks (of UTC) that have a
        snapshot, and keeps the newest of each.
    type: int
    default: 3
    version_added: 0.2.0
  keep_hourly:
    description: With O(state=pruned), keep the newest snapshot of each of so many hours.
    type: int
    default: 24
    version_added: 0.2.0
  keep_daily:
    description: With O(state=pruned), keep the newest snapshot of each of so many days.
    type: int
    default: 7
    version_added: 0.2.0
  keep_weekly:
    description: With O(state=pruned), keep the newest snapshot of each of so many weeks.
    type: int
    default: 4
    version_added: 0.2.0
  data_dir:
    description:
      - With O(state=restored), the new directory. It appears whole or not at all, with mode 0700 and the owner of
        etcd's present one. A file with C(.json) appended tells what it was made of.
      - Best on the file system of the present data directory, so that it can be put in place with a rename.
    type: path
    version_added: 0.2.0
  member_name:
    description: With O(state=restored), the member's name. Found out from this host's etcd, its manifest or its unit.
    type: str
    version_added: 0.2.0
  peer_url:
    description:
      - With O(state=restored), the URL at which the member's peers reach it, such as V(https://10.0.0.11:2380).
      - Found out from this host's etcd, its manifest or its unit.
    type: str
    version_added: 0.2.0
  initial_cluster:
    description:
      - With O(state=restored), all members of the new cluster, such as
        V(cp1=https://10.0.0.11:2380,cp2=https://10.0.0.12:2380). When not given, this member alone.
    type: str
    version_added: 0.2.0
  initial_cluster_token:
    description:
      - With O(state=restored), a word that tells this cluster from every other, also from itself before the restore.
        The same for all members, another one at each restore. Needed for more than one member, else made up.
    type: str
    version_added: 0.2.0
  bump_revision:
    description:
      - With O(state=restored), raise the revision by so much and mark all before it as compacted, so that nobody who
        watched the cluster takes old data for new. V(0) leaves it as it is.
    type: int
    default: 1000000000
    version_added: 0.2.0
  etcdutl:
    description:
      - With O(state=restored), the C(etcdutl) to use. When not given it is taken out of the running etcd's container,
        from the host, or out of the etcd image that containerd holds.
    type: path
    version_added: 0.2.0
  allow_version_change:
    description: With O(state=restored), restore although the snapshot is of an older minor version than C(etcdutl).
      That of a newer one is always refused, as no etcd starts on such data.
    type: bool
    default: false
    version_added: 0.2.0
  timeout:
    description: Seconds that etcd may take to send its snapshot, or C(etcdutl) to restore it.
    type: int
    default: 1800
seealso:
  - module: clustercare.kubeadm.etcd_info
  - module: clustercare.kubeadm.etcd_snapshot_info
"""

EXAMPLES = r"""
- name: Take a snapshot and bring it to the controller
  clustercare.kubeadm.etcd_snapshot:
    fetch_to: /srv/backups/etcd
  become: true
  register: __etcd_snapshot

- name: Take one snapshot for this change, however often the play is run
  clustercare.kubeadm.etcd_snapshot:
    name: before-change-4711.db
  become: true

- name: Make sure that there is a snapshot of the last hour
  clustercare.kubeadm.etcd_snapshot:
    max_age: 3600
  become: true

- name: Prove all snapshots that are there
  clustercare.kubeadm.etcd_snapshot:
    state: verified
  become: true

- name: Keep what a retention rule keeps
  clustercare.kubeadm.etcd_snapshot:
    state: pruned
    keep_last: 3
    keep_hourly: 24
    keep_daily: 7
    keep_weekly: 8
  become: true

- name: Make the new data directory of each of three masters
  clustercare.kubeadm.etcd_snapshot:
    state: restored
    name: etcd-cp1-20260101T020304Z.db
    data_dir: /var/lib/etcd-restore/20260102/etcd
    initial_cluster: cp1=https://10.0.0.11:2380,cp2=https://10.0.0.12:2380,cp3=https://10.0.0.13:2380
    initial_cluster_token: restore-20260102-4711
  become: true
"""

RETURN = r"""
snapshot:
  description: The snapshot on the host; also written to the sidecar file beside it.
  returned: success of O(state=saved) and O(state=restored)
  type: dict
  contains:
    path:
      description: Where it is, on the host.
      type: str
      sample: /var/lib/clustercare/backups/etcd-cp1-20260101T020304Z.db
    size:
      description: Bytes.
      type: int
      sample: 4214816
    sha256:
      description: SHA-256 of the whole file, as C(sha256sum) prints it.
      type: str
      sample: 0f7a6c3b2d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8
    revision:
      description: The revision that a restore would bring back; in check mode etcd's present one.
      type: int
      sample: 2089
    revision_before:
      description: etcd's revision just before.
      type: int
      sample: 2089
    keys:
      description: Keys that are not deleted.
      type: int
      sample: 312
    records:
      description: Stored versions of keys.
      type: int
      sample: 1533
    pages:
      description: Pages of the database in use; each was read.
      type: int
      sample: 607
    members:
      description: The members stored in it (id_hex, name, peer_urls, client_urls, learner).
      type: list
      elements: dict
    member:
      description: The member that it was taken of.
      type: str
      sample: cp1
    member_id:
      description: Its id, hexadecimal.
      type: str
      sample: 8e9e05c52164694d
    cluster_id:
      description: etcd's cluster id, hexadecimal. Every restore changes it.
      type: str
      sample: cdf818194e3a8c32
    ca_sha256:
      description: SHA-256 of the cluster's CA certificate (DER), which identifies the cluster.
      type: str
      sample: 5d41402abc4b2a76b9719d911017c592ae2f5c1f5d41402abc4b2a76b9719d91
    root_ca_sha256:
      description: The same, read from the ConfigMap kube-system/kube-root-ca.crt in the snapshot; null when it is
        encrypted or not there.
      type: str
      sample: 5d41402abc4b2a76b9719d911017c592ae2f5c1f5d41402abc4b2a76b9719d91
    nodes:
      description: Names of the Nodes in it.
      type: list
      elements: str
      sample: [cp1, w1, w2]
    method:
      description: The way it came.
      type: str
      sample: gateway
    etcd_version:
      description: Version of the member.
      type: str
      sample: 3.6.5
    etcd_image:
      description: The image that the manifest of the host's etcd names. Null without one.
      type: str
      sample: registry.example.org/etcd:3.6.5-0
    kubernetes_version:
      description: Version of the host's API server. Null when there is none.
      type: str
      sample: 1.34.4
    encryption_config_sha256:
      description:
        - SHA-256 of the file by which the host's API server encrypts what it stores
          (C(--encryption-provider-config)).
        - Null without one. With it, the snapshot is of no use without that very file.
      type: str
    cluster_version:
      description: Version of the cluster as stored.
      type: str
      sample: 3.6.0
    storage_version:
      description: Version of the storage as stored; null before etcd 3.6.
      type: str
      sample: 3.6.0
    consistent_index:
      description: The last raft entry in it.
      type: int
      sample: 2371
    alarms:
      description: The alarms under which it was taken, as C(member) (hexadecimal) and C(alarm).
      type: list
      elements: dict
      sample: []
    host:
      description: Name of the host.
      type: str
      sample: cp1
    taken:
      description: When it was begun, in UTC.
      type: str
      sample: "2026-01-01T02:03:04Z"
    schema:
      description: Version of the sidecar's form.
      type: int
      sample: 1
    stream_seconds:
      description: Seconds until all had come and was on the disk.
      type: float
      sample: 0.2
    seconds:
      description: Seconds with the proof.
      type: float
      sample: 0.3
fetched:
  description: The copy on the controller.
  returned: with O(fetch_to)
  type: dict
  contains:
    path:
      description: Where it is, on the controller.
      type: str
      sample: /srv/backups/etcd/etcd-cp1-20260101T020304Z.db
    size:
      description: Bytes.
      type: int
      sample: 4214816
    sha256:
      description: SHA-256 of the whole file, computed from the copy.
      type: str
      sample: 0f7a6c3b2d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8
    revision:
      description: Its revision, read from the copy.
      type: int
      sample: 2089
    changed:
      description: Whether it was copied now; false when the same copy was already there.
      type: bool
    seconds:
      description: Seconds with the proof.
      type: float
      sample: 1.1
snapshots:
  description: The snapshots that were looked at, as M(clustercare.kubeadm.etcd_snapshot_info) returns them.
  returned: with O(state=verified)
  type: list
  elements: dict
removed:
  description: Names of the snapshots that were removed.
  returned: with O(state=absent) and O(state=pruned)
  type: list
  elements: str
  sample: [etcd-cp1-20251101T020304Z.db]
kept:
  description: The snapshots that were kept, the newest first.
  returned: with O(state=pruned)
  type: list
  elements: dict
  contains:
    name:
      description: The snapshot.
      type: str
      sample: etcd-cp1-20260101T020304Z.db
    why:
      description: The rules that keep it.
      type: list
      elements: str
      sample: [last, hourly, daily]
damaged:
  description: Names of snapshots that turned out damaged, or not those that their sidecars describe; they were left
    alone.
  returned: with O(state=pruned)
  type: list
  elements: str
  sample: []
others:
  description: Names of snapshots that were made by somebody else; they were left alone.
  returned: with O(state=pruned)
  type: list
  elements: str
  sample: []
restored:
  description: The new data directory; also written to the file beside it.
  returned: success of O(state=restored)
  type: dict
  contains:
    data_dir:
      description: Where it is.
      type: str
      sample: /var/lib/etcd-restore/20260102/etcd
    snapshot:
      description: What it was made of.
      type: str
      sample: /var/lib/clustercare/backups/etcd-cp1-20260101T020304Z.db
    sha256:
      description: SHA-256 of that file.
      type: str
      sample: 0f7a6c3b2d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8
    name:
      description: The member's name.
      type: str
      sample: cp1
    peer_url:
      description: Where its peers reach it.
      type: str
      sample: https://10.0.0.11:2380
    initial_cluster:
      description: The members of the new cluster.
      type: str
      sample: cp1=https://10.0.0.11:2380,cp2=https://10.0.0.12:2380,cp3=https://10.0.0.13:2380
    token:
      description: What tells this cluster from others.
      type: str
      sample: restore-20260102-4711
    bump_revision:
      description: By how much the revision was raised.
      type: int
      sample: 1000000000
    revision:
      description: The revision of the new database, read from it.
      type: int
      sample: 1000002089
    etcdutl:
      description: Version of the program that made it.
      type: str
      sample: 3.6.5
    seconds:
      description: Seconds that it took; not in check mode.
      type: float
      sample: 0.6
elapsed:
  description: Seconds the part on the host took.
  returned: always
  type: float
  sample: 0.4
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_data_dir import Wanted, restore
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_retention import Rule, prune
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_save import Saving, save
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_shelf import absent, in_directory, verify
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_watch import ACCESS_OPTIONS, wanted_access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

COUNTS = ("keep_last", "keep_hourly", "keep_daily", "keep_weekly", "max_age", "bump_revision")


def keep(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    directory, name, state = params["dir"], params["name"], params["state"]
    for option in COUNTS:
        if (params[option] or 0) < 0:
            raise CareError(f"{option}={params[option]} makes no sense; give 0 or more.")
    if state == "verified":
        return verify(directory, name)
    if state == "absent":
        return absent(directory, name, module.check_mode)
    if state == "pruned":
        rule = Rule(*(params[f"keep_{period}"] for period in Rule._fields))
        return prune(directory, rule, module.check_mode)
    access = wanted_access(params)
    if state == "restored":
        wanted = Wanted(
            snapshot=in_directory(directory, name),
            data_dir=params["data_dir"].rstrip("/"),
            name=params["member_name"],
            peer_url=params["peer_url"],
            initial_cluster=params["initial_cluster"],
            token=params["initial_cluster_token"],
            bump_revision=params["bump_revision"],
            etcdutl=params["etcdutl"],
            allow_version_change=params["allow_version_change"],
        )
        return restore(access, wanted, Deadline(params["timeout"], "timeout"), module.check_mode)
    # The action plugin beside this module does fetch_to, on the controller.
    return save(
        access, Saving(directory, name, params["max_age"], params["method"], params["timeout"]), module.check_mode
    )


def main() -> None:
    run_module(
        keep,
        argument_spec={
            **ACCESS_OPTIONS,
            "state": {
                "type": "str",
                "choices": ["saved", "verified", "absent", "pruned", "restored"],
                "default": "saved",
            },
            "dir": {"type": "path", "default": "/var/lib/clustercare/backups"},
            "name": {"type": "str"},
            "max_age": {"type": "int"},
            "method": {"type": "str", "choices": ["auto", "gateway", "etcdctl"], "default": "auto"},
            "fetch_to": {"type": "str"},
            "keep_last": {"type": "int", "default": 3},
            "keep_hourly": {"type": "int", "default": 24},
            "keep_daily": {"type": "int", "default": 7},
            "keep_weekly": {"type": "int", "default": 4},
            "data_dir": {"type": "path"},
            "member_name": {"type": "str"},
            "peer_url": {"type": "str"},
            "initial_cluster": {"type": "str"},
            "initial_cluster_token": {"type": "str", "no_log": False},
            "bump_revision": {"type": "int", "default": 1000000000},
            "etcdutl": {"type": "path"},
            "allow_version_change": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 1800},
        },
        mutually_exclusive=[("name", "max_age")],
        required_if=[("state", "absent", ["name"]), ("state", "restored", ["name", "data_dir"])],
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
