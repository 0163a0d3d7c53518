# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of etcd_snapshot: runs the module, then brings the file here in pieces."""

from __future__ import annotations

import os
import time
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import existing, prove, write_sidecar
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import (
    WholeFile,
    need_space,
    private_directory,
)
from ansible_collections.clustercare.kubeadm.plugins.plugin_utils._bringing import BringingAction


class ActionModule(BringingAction):
    """Everything about etcd happens in the module; here is only the way of the file."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        result.update(self._execute_module(task_vars=task_vars))
        fetch_to = self._task.args.get("fetch_to")
        # Only a snapshot that was saved comes here; the other states have nothing to bring.
        if result.get("failed") or not fetch_to or self._task.args.get("state", "saved") != "saved":
            return result
        directory = self._loader.path_dwim(fetch_to)
        try:
            result["fetched"] = self._fetch(result["snapshot"], directory)
        except CareError as error:
            result.update(error.results)
            result.update(failed=True, msg=f"{error.message} The snapshot itself is safe on the host.")
            return result
        result["changed"] = bool(result.get("changed")) or result["fetched"]["changed"]
        return result

    def _fetch(self, snapshot: dict[str, Any], directory: str) -> dict[str, Any]:
        """The copy on the controller: the one that is there already, or a new one."""
        began = time.monotonic()
        path = os.path.join(directory, os.path.basename(snapshot["path"]))
        if self._task.check_mode and "sha256" not in snapshot:
            need_space(directory, snapshot["size"], "fetch_to")
            return {"path": path, "size": snapshot["size"], "changed": True}
        known = existing(path)
        if known and known["sha256"] != snapshot["sha256"]:
            raise CareError(
                f"Another snapshot lies at {path} on the controller: move it away, or take another name (option name)."
            )
        if not known:
            need_space(directory, snapshot["size"], "fetch_to")
            if self._task.check_mode:
                return {"path": path, "size": snapshot["size"], "changed": True}
            private_directory(directory)
            known = self._copy(snapshot, path)
        return {
            "path": path,
            "size": known["size"],
            "sha256": known["sha256"],
            "revision": known["revision"],
            "changed": known.get("copied", False),
            "seconds": round(time.monotonic() - began, 1),
        }

    def _copy(self, snapshot: dict[str, Any], path: str) -> dict[str, Any]:
        with WholeFile(path) as file:
            self.bring(snapshot["path"], snapshot["size"], file)
            proof = prove(file.part)
            if proof["sha256"] != snapshot["sha256"]:
                raise CareError(
                    f"The copy on the controller was thrown away: it differs from {snapshot['path']} on the host "
                    f"(SHA-256 {proof['sha256']}, not {snapshot['sha256']}), which has changed meanwhile. Run it again."
                )
            write_sidecar(path, snapshot)
            file.commit()
        return {**proof, "copied": True}
