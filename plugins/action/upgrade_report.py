# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes an upgrade's report on the controller, where Ansible itself runs: no connection, no module."""

from __future__ import annotations

import json
import os
from typing import Any, Optional

from ansible.plugins.action import ActionBase

from ansible_collections.clustercare.kubeadm.plugins.filter.report_query import report_query
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._report import build, markdown, summary
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import now
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import private_directory, write_whole

_DETAILS = ("run_id", "started", "outcome", "failure", "snapshot")


class ActionModule(ActionBase):
    """Builds the report, writes its two files, and hands its figures to the next job of a workflow."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = self._task.args
        details = {name: args[name] for name in _DETAILS if args.get(name)}
        report = build(args["plan"], args.get("phases") or {}, finished=now(), **details)
        directory = self._loader.path_dwim(args["dir"])
        paths = {kind: os.path.join(directory, f"report.{kind}") for kind in ("json", "md")}
        texts = {"json": json.dumps(report, indent=2, default=str) + "\n", "md": markdown(report)}
        result["changed"] = self._task.check_mode
        try:
            if not self._task.check_mode:
                # A directory that somebody has already keeps its mode.
                if not os.path.isdir(directory):
                    result["changed"] = private_directory(directory)
                for kind, path in paths.items():
                    write_whole(path, texts[kind].encode())
                    result["changed"] = True
        except CareError as error:
            result.update(failed=True, msg=error.message)
        stats = report_query(report, args.get("figures") or {})
        result.update(
            paths=paths,
            summary=summary(report).splitlines(),
            ansible_stats={"data": stats, "per_host": False, "aggregate": True},
        )
        return result
