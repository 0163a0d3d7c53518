#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: upgrade_report
short_description: Write the report of an upgrade on the controller
version_added: 0.2.0
author: [clustercare.kubeadm authors (@clustercare)]
description:
  - Puts together what was planned and what was done, writes C(report.json) for machines and C(report.md) for people,
    and hands figures to the next job of a workflow, as M(ansible.builtin.set_stats) does.
  - Runs on the controller alone.
options:
  plan:
    description: RV(clustercare.kubeadm.upgrade_plan#module:plan).
    type: dict
    required: true
  phases:
    description: The answer of P(clustercare.kubeadm.upgrade_phases#filter).
    type: dict
    default: {}
  dir:
    description: Where the two files go. Made with mode 0700 when it is not there.
    type: path
    required: true
  run_id:
    description: The name of the run.
    type: str
    default: ""
  started:
    description: When the run began, ISO 8601.
    type: str
    default: ""
  outcome:
    description: V(upgraded), V(nothing to do), V(failed) or V(refused). Empty, it is derived from the rest.
    type: str
    default: ""
  failure:
    description: Where it stopped, with C(host), C(task) and C(message); empty when it did not.
    type: dict
    default: {}
  snapshot:
    description: The snapshot taken before, with C(path), C(size), C(sha256) and C(revision).
    type: dict
    default: {}
  figures:
    description: Figures for the next job of a workflow, each a name and a JMESPath expression over the report.
    type: dict
    default: {}
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
attributes:
  check_mode:
    support: full
    details: Builds the report and writes nothing.
  diff_mode:
    support: none
    details: A report is new each time.
  idempotent:
    support: none
    details: A report tells the time at which it was made.
  platform:
    support: full
    platforms: posix
    details: The controller.
requirements:
  - jmespath (Python)
seealso:
  - plugin: clustercare.kubeadm.report_query
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Write the report
  clustercare.kubeadm.upgrade_report:
    plan: "{{ planned.plan }}"
    phases: "{{ hostvars | clustercare.kubeadm.upgrade_phases(groups['masters'] + groups['workers']) }}"
    dir: ~/upgrades/2026-11-22
    figures:
      upgrade_seconds: seconds
  run_once: true
"""

RETURN = r"""
paths:
  description: The two files, by kind.
  returned: always
  type: dict
  sample: {json: /home/ops/upgrades/2026-11-22/report.json, md: /home/ops/upgrades/2026-11-22/report.md}
summary:
  description: A few lines for the screen.
  returned: always
  type: list
  elements: str
  sample: ["Nothing to do: 3 nodes run Kubernetes 1.35.4 (9 s)."]
"""
