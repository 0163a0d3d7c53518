# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of control_plane_files: runs the module, then brings the archives that may travel here."""

from __future__ import annotations

import os
from typing import Any, Optional

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._master_archive import digest, prove
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import (
    WholeFile,
    need_space,
    private_directory,
)
from ansible_collections.clustercare.kubeadm.plugins.plugin_utils._bringing import BringingAction


class ActionModule(BringingAction):
    """What belongs to a master is known to the module; here is only the way of its archives."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        result.update(self._execute_module(task_vars=task_vars))
        arguments = self._task.args
        fetch_to = arguments.get("fetch_to")
        if result.get("failed") or not fetch_to or arguments.get("state", "saved") != "saved":
            return result
        directory = self._loader.path_dwim(fetch_to)
        with_keys = boolean(arguments.get("private_keys") or False)
        result["fetched"] = []
        try:
            for archive in result["files"]["archives"]:
                if with_keys or not archive["private"]:
                    result["fetched"].append(self._fetch(archive, directory))
        except CareError as error:
            result.update(error.results)
            result.update(failed=True, msg=f"{error.message} The archives themselves are safe on the host.")
        result["changed"] = bool(result.get("changed")) or any(one["changed"] for one in result["fetched"])
        return result

    def _fetch(self, archive: dict[str, Any], directory: str) -> dict[str, Any]:
        """The copy on the controller: the one that is there already, or a new one."""
        path = os.path.join(directory, os.path.basename(archive["name"]))
        about = {"path": path, "private": archive["private"], "size": archive["size"]}
        if os.path.lexists(path) and archive.get("sha256"):
            prove(path)
            if digest(path) != archive["sha256"]:
                raise CareError(f"Another archive lies at {path} on the controller: move it away.")
            return {**about, "sha256": archive["sha256"], "changed": False}
        need_space(directory, archive["size"], "fetch_to")
        if self._task.check_mode:
            return {**about, "changed": True}
        private_directory(directory)
        with WholeFile(path) as file:
            self.bring(archive["path"], archive["size"], file)
            prove(file.part)
            if digest(file.part) != archive["sha256"]:
                raise CareError(
                    f"The copy on the controller was thrown away: it differs from {archive['path']} on the host, which "
                    "has changed meanwhile. Run it again."
                )
            file.commit()
        return {**about, "sha256": archive["sha256"], "changed": True}
