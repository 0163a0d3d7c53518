# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    """The option of the modules whose task makes a lost connection again."""

    DOCUMENTATION = r"""
options:
  reconnect_timeout:
    description:
      - Seconds for which a host whose connection is lost in the middle of the task is tried again. What runs there goes
        on meanwhile, and its result is taken.
      - V(0) makes a lost connection an unreachable host at once. Handled on the controller.
    type: int
    default: 0
    version_added: 0.2.0
"""
