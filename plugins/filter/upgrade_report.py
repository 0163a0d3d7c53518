# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.clustercare.kubeadm.plugins.module_utils._report import build

DOCUMENTATION = r"""
name: upgrade_report
short_description: Put a plan and what became of it together
version_added: 0.1.0
author: [clustercare.kubeadm authors (@clustercare)]
description:
  - Builds the data of C(report.json) from the plan of M(clustercare.kubeadm.upgrade_plan) and each host's phases.
positional: phases
options:
  _input:
    description: The RV(clustercare.kubeadm.upgrade_plan#module:plan).
    type: dict
    required: true
  phases:
    description: >-
      By inventory name, a list of phases in their order, each with C(phase), C(seconds), C(changed), C(failed) and
      C(details); see P(clustercare.kubeadm.upgrade_phases#filter).
    type: dict
    default: {}
  run:
    description: The run's id.
    type: str
    default: ""
  started:
    description: When the run began, ISO 8601.
    type: str
    default: ""
  finished:
    description: When the run ended, ISO 8601.
    type: str
    default: ""
  outcome:
    description: >-
      V(upgraded), V(nothing to do), V(failed) or V(refused). Empty: derived from the plan and O(failure).
    type: str
    default: ""
  snapshot:
    description: The snapshot taken before, with C(path), C(size), C(sha256) and C(revision).
    type: dict
  failure:
    description: Where it stopped, with C(host), C(task) and C(message); empty when it did not.
    type: dict
  warnings:
    description: Warnings beside those of the plan.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Build the report
  ansible.builtin.set_fact:
    report: >-
      {{ planned.plan | clustercare.kubeadm.upgrade_report(phases, run='r1', started='2026-01-01T00:00:00Z',
      finished='2026-01-01T00:07:00Z', snapshot=saved.snapshot) }}
"""

RETURN = r"""
_value:
  description: >-
    The report, with C(run), C(cluster), C(target), C(outcome), C(failure), C(started), C(finished), C(seconds),
    C(nodes) (each with C(before), C(after), C(outcome), C(seconds) and C(phases)), C(phases) (seconds of all nodes
    together), C(snapshot), C(refusals) and C(warnings).
  type: dict
"""


def upgrade_report(plan: Mapping[str, Any], phases: Any = None, **details: Any) -> dict[str, Any]:
    return build(plan, phases, **details)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"upgrade_report": upgrade_report}
