#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_packages
short_description: Kubernetes packages of a version, staged or installed, with holds and repository as found
version_added: 0.1.0
author: [clustercare.kubeadm authors (@clustercare)]
description:
  - Knows the one repository per minor of upstream and its mirrors. The minor in the repository's path is switched in
    one-line, deb822 and C(.repo) files; mirror, keys, options and every other repository stay as they are.
  - Only the Kubernetes repository is refreshed. Holds and version locks are afterwards as they were found, also after
    a failure. When the switched repository cannot be read, the old text is put back.
  - Needs C(apt-get) and C(dpkg), or C(dnf) and C(rpm).
options:
  state:
    description:
      - V(available) only asks what the repository of O(version) has, through a package state of its own under
        C(/var/lib/clustercare); nothing of the system's package manager changes. Where all O(packages) are at that very
        version, nobody is asked.
      - V(staged) switches the repository, downloads O(packages) and installs O(install). Nothing that runs changes.
      - V(present) has O(packages) installed at exactly the version.
    type: str
    choices: [available, staged, present]
    required: true
  version:
    description:
      - V(1.35.4) for a version, V(1.35.4-1.1) for exactly that package version, V(1.35) for the newest patch.
      - Resolve a minor once with O(state=available) and give all hosts the outcome, so that they get the same.
    type: str
    required: true
  packages:
    description: The packages in question.
    type: list
    elements: str
    default: [kubeadm, kubelet, kubectl]
  install:
    description: With O(state=staged), those of O(packages) that are installed at once. kubeadm does nothing by itself.
    type: list
    elements: str
    default: [kubeadm]
  lock_timeout:
    description: Seconds to wait for another package manager.
    type: int
    default: 120
  timeout:
    description: Seconds for one download or installation, and for the end of what another run still does on the host.
    type: int
    default: 1200
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
  - clustercare.kubeadm.reconnecting
attributes:
  check_mode:
    support: full
    details: O(state=available) works in check mode too, for it changes nothing of the system's package manager.
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
    details: Linux with apt or dnf. Needs root. Only Python's standard library is used.
seealso:
  - module: clustercare.kubeadm.kubeadm_upgrade
"""

EXAMPLES = r"""
- name: Ask which packages there are
  clustercare.kubeadm.kube_packages:
    state: available
    version: "1.35"
  become: true
  register: asked

- name: Download everything and install kubeadm, on all hosts at once
  clustercare.kubeadm.kube_packages:
    state: staged
    version: 1.35.4
  become: true

- name: Install the kubelet once its node is drained
  clustercare.kubeadm.kube_packages:
    state: present
    version: 1.35.4
    packages: [kubelet, kubectl]
  become: true
"""

RETURN = r"""
repository:
  description: The Kubernetes repository, with its C(files), C(current_minor), C(target_minor) and the target's C(uri).
  returned: unless everything was there already
  type: dict
  sample:
    current_minor: "1.34"
    files: [/etc/apt/sources.list.d/kubernetes.list]
    target_minor: "1.35"
    uri: "http://packages.example.org/core:/stable:/v1.35/deb/"
available:
  description:
    - Package versions of the first package in the target's repository, oldest first; the installed one alone when
      nobody had to be asked.
  returned: O(state=available)
  type: list
  elements: str
  sample: [1.35.4-1.1]
candidate:
  description: The package version that O(version) stands for; V(null) when there is none.
  returned: O(state=available)
  type: str
  sample: 1.35.4-1.1
candidates:
  description: The package version of each package.
  returned: O(state=available), else unless everything was there already
  type: dict
  sample: {kubeadm: 1.35.4-1.1, kubectl: 1.35.4-1.1, kubelet: 1.35.4-1.1}
error:
  description: Why O(version) cannot be had, as a sentence; V(null) when it can.
  returned: O(state=available)
  type: str
before:
  description: Installed versions of O(packages) before.
  returned: always
  type: dict
  sample: {kubeadm: 1.34.4-1.1, kubectl: 1.34.4-1.1, kubelet: 1.34.4-1.1}
after:
  description: Installed versions of O(packages) afterwards; in check mode as they would be.
  returned: always
  type: dict
  sample: {kubeadm: 1.35.4-1.1, kubectl: 1.34.4-1.1, kubelet: 1.34.4-1.1}
held:
  description: Kubernetes packages that were found held, and are held.
  returned: always
  type: list
  elements: str
  sample: [kubeadm, kubectl, kubelet]
repository_changed:
  description: Whether the minor of the repository was switched.
  returned: O(state=staged) or O(state=present)
  type: bool
downloaded:
  description: Packages that were not in the cache yet.
  returned: O(state=staged) or O(state=present)
  type: list
  elements: str
mended:
  description: Whether an interrupted dpkg was brought to its end first.
  returned: O(state=staged) or O(state=present)
  type: bool
reconnected:
  description: The connection was lost in the middle of the task and made again (O(reconnect_timeout)).
  returned: when that happened
  type: bool
commands:
  description: The programs that were run, in order.
  returned: always
  type: list
  elements: list
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
  sample: 0.2
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _packages
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Recorder
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import RECONNECT, run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._packages_choice import manager_of_host
from ansible_collections.clustercare.kubeadm.plugins.module_utils._record import locked
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline


def work(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    recorder = Recorder()
    manager = manager_of_host(recorder, params["lock_timeout"], params["timeout"])
    if manager is None:
        raise CareError(
            "This host has neither apt-get nor dnf, and no other package manager is supported, such as zypper: "
            "manage the packages yourself (upgrade_manage_packages=false)."
        )
    stray = [name for name in params["install"] if name not in params["packages"]]
    if params["state"] == "staged" and stray:
        raise CareError(f"install names {', '.join(stray)}, which packages does not.")
    packages = _packages.Packages(manager, params["version"], params["packages"], params["lock_timeout"])
    results: dict[str, Any] = {"changed": False, "held": packages.overview["held"], "commands": recorder.commands}
    results.update(before=packages.versions, after=packages.versions)
    if params["state"] == "available":
        return {**results, **_packages.answer(packages)}
    results.update(repository_changed=False, downloaded=[], mended=False)
    staged = params["state"] == "staged"
    to_install = params["install"] if staged else params["packages"]
    try:
        # what a dead run still does here is waited for, a kubeadm too; a mere question is not held up by it
        with locked(Deadline(params["lock_timeout"] + params["timeout"], "timeout")):
            packages.look()
            _packages.bring(packages, results, staged, to_install, module.check_mode)
    except CareError as error:
        raise type(error)(error.message, **{**error.results, **results}) from error
    return results


def main() -> None:
    run_module(
        work,
        argument_spec={
            "state": {"type": "str", "required": True, "choices": ["available", "staged", "present"]},
            "version": {"type": "str", "required": True},
            "packages": {"type": "list", "elements": "str", "default": ["kubeadm", "kubelet", "kubectl"]},
            "install": {"type": "list", "elements": "str", "default": ["kubeadm"]},
            "lock_timeout": {"type": "int", "default": 120},
            "timeout": {"type": "int", "default": 1200},
            **RECONNECT,
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
