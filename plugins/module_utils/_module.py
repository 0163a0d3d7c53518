# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The one way in which a module of this collection starts, answers and fails."""

from __future__ import annotations

import time
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError

# Read by the action plugin, on the controller; the module itself has no use for it.
RECONNECT: dict[str, Any] = {"reconnect_timeout": {"type": "int", "default": 0}}


def run_module(main: Callable[[AnsibleModule], dict[str, Any]], **spec: Any) -> None:
    """Build the module from ``spec`` (AnsibleModule's own arguments), run ``main``, exit.

    ``main`` returns the result; ``changed`` defaults to false and ``elapsed`` (seconds, float) is added.
    Sentences under ``warnings`` become the task's warnings.
    A CareError becomes ``fail_json`` with its partial results; any other exception is a bug and keeps its traceback.
    """
    module = AnsibleModule(**spec)
    began = time.monotonic()

    def answer(results: dict[str, Any]) -> dict[str, Any]:
        for warning in results.pop("warnings", []):
            module.warn(warning)
        return {"changed": False, "elapsed": round(time.monotonic() - began, 1), **results}

    try:
        results = main(module)
    except CareError as error:
        module.fail_json(msg=error.message, **answer(error.results))
    module.exit_json(**answer(results))
