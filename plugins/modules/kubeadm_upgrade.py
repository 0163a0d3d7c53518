#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_upgrade
short_description: One step of a kubeadm upgrade on one host
version_added: 0.1.0
author: [clustercare.kubeadm authors (@clustercare)]
description:
  - Pulls images, runs C(kubeadm upgrade), or restarts the kubelet, and proves the outcome.
  - kubeadm runs in a transient systemd unit, C(clustercare-kubeadm.service), so that a lost connection does not cut it.
    When that unit runs already, it is waited for and its result taken. kubeadm is never started twice.
  - Whether the step is done is never read from image tags alone. kubeadm's exit 0 has to be recorded on the host with
    the version, and the static pods, the kubelet's flags and the cluster's kubeadm-config have to agree. Without a
    record a host counts as done only if its kubelet runs the version too.
options:
  step:
    description:
      - V(images) pulls what the version needs; on a worker only what a worker runs, where that can be told.
      - V(control_plane) is C(kubeadm upgrade apply), for the first master.
      - V(node) is C(kubeadm upgrade node), for all others.
      - V(kubelet) restarts the kubelet when it is stale or not of the version. Its node has to be drained before.
      - V(abort) gives an unfinished upgrade up. A kubeadm that still runs is waited for, then the host's record is put
        away, so that an upgrade to another version can begin. What was upgraded stays upgraded.
    type: str
    choices: [images, control_plane, node, kubelet, abort]
    required: true
  version:
    description: The exact version, such as V(1.35.4). Required unless O(step=abort).
    type: str
  run_id:
    description: The name of the run, for the record and the backup's file name. By default the present time.
    type: str
  kubeconfig:
    description: The kubeconfig on a master by which the local API server is asked.
    type: path
    default: /etc/kubernetes/admin.conf
  ignore_preflight_errors:
    description: Names of kubeadm's preflight errors to ignore. Never C(all).
    type: list
    elements: str
    default: []
  patches:
    description: Directory on the host with kubeadm patches.
    type: path
  certificate_renewal:
    description: Whether kubeadm renews the certificates that it manages.
    type: bool
    default: true
  timeout:
    description:
      - Seconds to wait for kubeadm. After that the task fails and kubeadm is left running, for stopping it could cut
        its own rollback. The same task again waits for it.
      - A restarted kubelet is given 180 seconds of it, the API server 300.
    type: int
    default: 1800
  retries:
    description: How often a failed kubeadm is run again at once. The command is idempotent and its checks may flicker.
    type: int
    default: 1
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
  - clustercare.kubeadm.reconnecting
attributes:
  check_mode:
    support: full
    details: Says in RV(command) what would be run and in RV(reasons) why.
  diff_mode:
    support: none
    details: What kubeadm changes is known to kubeadm alone.
  idempotent:
    support: full
  platform:
    support: full
    details: Linux with systemd. Needs root. Only Python's standard library is used.
seealso:
  - module: clustercare.kubeadm.kube_packages
  - module: clustercare.kubeadm.kubeadm_host_info
"""

EXAMPLES = r"""
- name: Pull the images on all hosts at once
  clustercare.kubeadm.kubeadm_upgrade:
    step: images
    version: 1.35.4
  become: true

- name: Upgrade the first master's control plane
  clustercare.kubeadm.kubeadm_upgrade:
    step: control_plane
    version: 1.35.4
    run_id: 20261122T031500Z
  become: true

- name: Give an unfinished upgrade up
  clustercare.kubeadm.kubeadm_upgrade:
    step: abort
  become: true

- name: Start the new kubelet of a drained node
  clustercare.kubeadm.kubeadm_upgrade:
    step: kubelet
    version: 1.35.4
  become: true
"""

RETURN = r"""
command:
  description: The command of the step.
  returned: unless O(step=images) or O(step=abort)
  type: list
  elements: str
  sample: [kubeadm, upgrade, apply, v1.35.4, --yes]
commands:
  description: The commands that pull.
  returned: O(step=images)
  type: list
  elements: list
images:
  description: The images that the host needs.
  returned: O(step=images)
  type: list
  elements: str
missing:
  description: Those that were not there, or all of them when nothing on the host could tell.
  returned: O(step=images)
  type: list
  elements: str
reasons:
  description: Why the step is not done; empty when it is, and then nothing was run.
  returned: unless O(step=images), O(step=abort) or an earlier kubeadm was taken over
  type: list
  elements: str
  sample: ["no finished kubeadm run to 1.35.4 is recorded and the kubelet runs 1.34.4", "kubeadm-config says 1.34.4"]
taken_over:
  description: The run that started the kubeadm whose result was taken.
  returned: when an earlier kubeadm was found
  type: str
reconnected:
  description: The connection was lost in the middle of the step and made again (O(reconnect_timeout)).
  returned: when that happened
  type: bool
rc:
  description: The exit status of kubeadm; V(null) when it ended without one.
  returned: when kubeadm was run
  type: int
output:
  description: All that kubeadm said.
  returned: when a program was run
  type: str
seconds:
  description: How long it took.
  returned: when something was run
  type: float
attempts:
  description: C(rc) and C(seconds) of each run of kubeadm.
  returned: when kubeadm was run
  type: list
  elements: dict
backup:
  description: The 0600 archive of C(/etc/kubernetes) and the kubelet's configuration, made before kubeadm was run.
    The newest five stay.
  returned: when kubeadm was run on a master
  type: str
  sample: /var/lib/clustercare/backups/20261122T031500Z-kubernetes.tar.gz
leader_moved:
  description:
    - The members from which and to which etcd's leadership was moved before this master was touched; V(null) when its
      member was not the leader, or is the only one.
  returned: when kubeadm was run or the kubelet was restarted on a master
  type: dict
  sample: {from: cp1, to: cp2}
kubelet_server:
  description:
    - The API server of another master that the kubelet spoke to while kubeadm made this master's own anew; V(null) when
      it kept its own, as the only master's does, one where pods of everybody may run, or one that does not get its
      kubeconfig the way kubeadm sets it up.
    - The kubelet is restarted for it before kubeadm and after it. Until then its drop-in C(90-clustercare.conf) lies
      in C(/run/systemd/system/kubelet.service.d).
  returned: when kubeadm was run on a master
  type: str
  sample: 10.80.0.12:6443
record:
  description:
    - What the host's disk now holds about the run. C(phase) is what was begun last, V(done) after the kubelet.
    - With O(step=abort), what was put away.
  returned: unless O(step=images)
  type: dict
  sample:
    run: 20261122T031500Z
    begun: "2026-11-22T03:15:09Z"
    phase: kubeadm
    steps:
      kubeadm: {finished: "2026-11-22T03:20:11Z", run: 20261122T031500Z, seconds: 163.2, target: 1.35.4}
    target: 1.35.4
pid:
  description: The new kubelet's process.
  returned: O(step=kubelet) when it was restarted
  type: int
started:
  description: When the new kubelet started, in seconds since the epoch; its heartbeat has to be newer.
  returned: O(step=kubelet) when it was restarted
  type: float
evidence:
  description:
    - Last log lines of each static pod (C(static_pods)) and of the C(kubelet), C(manifests_diff), whether kubeadm
      put the manifests back (C(rolled_back); a new etcd, C(new_etcd), it leaves when a later component fails), and
      which static pods did not run again (C(not_running)).
  returned: failure
  type: dict
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubeadm_upgrade import Upgrade, options_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import RECONNECT, run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._upgrade_abort import abort

STEPS = ["images", "control_plane", "node", "kubelet", "abort"]


def upgrade(module: AnsibleModule) -> dict[str, Any]:
    if "all" in [name.lower() for name in module.params["ignore_preflight_errors"]]:
        raise CareError("ignore_preflight_errors=all is not taken; name the errors that you know.")
    if module.params["step"] == "abort":
        return abort(module.params["timeout"], module.check_mode)
    return Upgrade(options_of(module.params, module.check_mode)).run()


def main() -> None:
    run_module(
        upgrade,
        argument_spec={
            "step": {"type": "str", "required": True, "choices": STEPS},
            "version": {"type": "str"},
            "run_id": {"type": "str"},
            "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
            "ignore_preflight_errors": {"type": "list", "elements": "str", "default": []},
            "patches": {"type": "path"},
            "certificate_renewal": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 1800},
            **RECONNECT,
            "retries": {"type": "int", "default": 1},
        },
        required_if=[("step", step, ["version"]) for step in STEPS if step != "abort"],
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
