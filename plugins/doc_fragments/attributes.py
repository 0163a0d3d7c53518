# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and say what it would change without changing it.
  diff_mode:
    description: Shows what changed, or would change, with C(--diff).
  idempotent:
    description: A second run with the same options changes nothing.
  platform:
    description: Where the module runs.
    platforms: posix
"""
