# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Cordons with an owner: whose a node's cordon is, setting ours, lifting only ours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _names, _times
from ansible_collections.clustercare.kubeadm.plugins.module_utils._allowed import list_if_allowed
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import FIELD_MANAGER, Api
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

ANNOTATION = _names.CORDON
_RACES = 5


@dataclass(frozen=True)
class Owner:
    """Who cordons: the purpose decides whose a cordon is, the rest is for people."""

    purpose: str
    run: str | None
    host: str
    reason: str | None = None

    def cordon(self) -> Cordon:
        """The cordon that this owner sets now."""
        return Cordon(True, self.purpose, self.run, self.host, _times.now(), FIELD_MANAGER, True, self.reason)

    def annotation(self) -> str:
        """As it stands on the node."""
        cordon = self.cordon()
        noted = {"owner": cordon.owner, "run": cordon.run, "host": cordon.host, "time": cordon.time}
        return json.dumps({**noted, "reason": self.reason} if self.reason else noted)


@dataclass(frozen=True)
class Cordon:
    """A node's cordon as it is. ``owner`` is None when nobody of this collection set it."""

    cordoned: bool
    owner: str | None = None
    run: str | None = None
    host: str | None = None
    time: str | None = None
    setter: str | None = None
    marked: bool = False
    reason: str | None = None

    def is_ours(self, purpose: str) -> bool:
        """Whether it was set for this purpose, by this run or an earlier one."""
        return self.cordoned and self.owner == purpose

    def same_hands(self, other: Cordon) -> bool:
        """Whether nobody lifted it, set it anew or took it over between the two looks."""
        return (self.cordoned, self.owner, self.run) == (other.cordoned, other.owner, other.run)

    def data(self) -> dict[str, Any]:
        """For a module's result."""
        told = ("cordoned", "owner", "run", "host", "time", "reason")
        return {name: getattr(self, name) for name in told}

    def __str__(self) -> str:
        if self.owner:
            told = [f"run {self.run}" if self.run else "", f"from {self.host}" if self.host else ""]
            told.append(f"at {self.time}" if self.time else "")
            told.append(self.reason or "")
            said = ", ".join(item for item in told if item)
            return f"for '{self.owner}'" + (f" ({said})" if said else "")
        by = f"by {self.setter}" if self.setter else "by somebody else"
        return by + (f" at {self.time}" if self.time else "")


def read_cordon(node: dict[str, Any]) -> Cordon:
    """Whose cordon a node carries.

    The annotation alone may be left over (``kubectl uncordon`` does not know it, a later ``kubectl cordon`` is not
    ours), so the API server's own record of who last set the field decides where it has one.
    """
    metadata = node.get("metadata") or {}
    written = (metadata.get("annotations") or {}).get(ANNOTATION)
    marked = written is not None
    if not (node.get("spec") or {}).get("unschedulable"):
        return Cordon(False, marked=marked)
    setter, time = _last_setter(metadata)
    if written is None or setter not in (None, FIELD_MANAGER):
        return Cordon(True, setter=setter, time=time, marked=marked)
    try:
        told = json.loads(written)
        owner = str(told["owner"])
    except (ValueError, TypeError, KeyError):
        return Cordon(True, setter=setter, time=time, marked=True)
    return Cordon(True, owner, told.get("run"), told.get("host"), told.get("time"), setter, True, told.get("reason"))


def _last_setter(metadata: dict[str, Any]) -> tuple[str | None, str | None]:
    for entry in metadata.get("managedFields") or []:
        fields = entry.get("fieldsV1") or {}
        if not entry.get("subresource") and "f:unschedulable" in (fields.get("f:spec") or {}):
            return entry.get("manager"), entry.get("time")
    return None, None


def node_path(name: str) -> str:
    """Where the API keeps a node."""
    return f"/api/v1/nodes/{name}"


def get_node(api: Api, name: str, deadline: Deadline) -> dict[str, Any]:
    """The node of this name.

    :raises CareError: naming those that exist.
    """
    node = api.find(node_path(name), deadline)
    if node is None:
        there = list_if_allowed(api, "/api/v1/nodes", deadline)
        has = "" if there is None else f"; it has {', '.join(sorted(n['metadata']['name'] for n in there))}"
        raise CareError(f"There is no node {name} in the cluster at {api.host} (option name or names){has}.")
    return node


class Change(NamedTuple):
    """A cordon before and after, and whether this call changed it."""

    before: Cordon
    after: Cordon
    changed: bool


def wants_change(found: Cordon, owner: Owner, take_over: bool) -> bool:
    """Whether ``set_cordon`` has something to write: no cordon yet, or one of our purpose to take over."""
    return not found.cordoned or (take_over and found.is_ours(owner.purpose) and found.run != owner.run)


def set_cordon(api: Api, name: str, owner: Owner, deadline: Deadline, take_over: bool = True) -> Change:
    """Cordon a node and note the owner in one step; then read it back. Somebody else's cordon is left as it is.

    :param take_over: put our run's name on a cordon that an earlier run set for the same purpose, which stops
        a drain that this run may have left behind.
    :raises CareError: when the API server did not keep it.
    """
    before: Optional[Cordon] = None
    for _race in range(_RACES):
        node = api.get(node_path(name), deadline)
        found = read_cordon(node)
        if not wants_change(found, owner, take_over):
            # After a conflict it may be our own patch, whose first answer was lost.
            ours = before is not None and found.is_ours(owner.purpose) and found.run == owner.run
            return Change(before if before and ours else found, found, ours)
        before = found
        now = _write(api, name, _change(node, True, owner.annotation()), deadline)
        if now is None:
            continue
        if not now.cordoned:
            raise CareError(
                f"Node {name} was cordoned, but is not when read back; something in the cluster lifts cordons. "
                "Nothing was evicted.",
                changed=True,
            )
        return Change(before, now, True)
    raise CareError(f"Node {name} changes faster than it can be cordoned; nothing was evicted, run it again.")


def lift_cordon(
    api: Api, name: str, purpose: str, force: bool, deadline: Deadline, only_run: Optional[str] = None
) -> Change:
    """Uncordon a node if the cordon is ours (or with force), and remove our mark; then read it back.

    :param only_run: leave it if another run of the same purpose has taken it over.
    """
    before: Optional[Cordon] = None
    for _race in range(_RACES):
        node = api.get(node_path(name), deadline)
        found = read_cordon(node)
        taken_over = only_run is not None and found.cordoned and found.run != only_run
        if taken_over or not may_lift(found, purpose, force):
            # After a conflict it may be our own patch, whose first answer was lost.
            return Change(before or found, found, before is not None and not found.cordoned)
        before = found
        now = _write(api, name, _change(node, None, None), deadline)
        if now is None:
            continue
        if now.is_ours(purpose):
            raise CareError(f"Node {name} was uncordoned, but is still cordoned when read back; run it again.")
        return Change(before, now, True)
    raise CareError(f"Node {name} changes faster than it can be uncordoned; run it again.")


def may_lift(found: Cordon, purpose: str, force: bool) -> bool:
    """Whether there is something to lift, and it is ours to lift."""
    if not found.cordoned:
        # Uncordoned by hand meanwhile: our mark would make a later cordon look like ours.
        return found.marked
    return force or found.is_ours(purpose)


def _write(api: Api, name: str, change: dict[str, Any], deadline: Deadline) -> Optional[Cordon]:
    """The cordon as it is read back; None when the node changed since it was read.

    :raises CareError: with ``changed`` true when it was written, or nobody can tell.
    """
    written = False
    try:
        written = api.patch(node_path(name), change, deadline) is not None
        return read_cordon(api.get(node_path(name), deadline)) if written else None
    except CareError as error:
        error.results["changed"] = written or isinstance(error, TimedOut)
        raise


def _change(node: dict[str, Any], unschedulable: bool | None, annotation: str | None) -> dict[str, Any]:
    """One patch for both halves, refused by the server when the node changed since it was read."""
    return {
        "metadata": {
            "resourceVersion": node["metadata"]["resourceVersion"],
            "annotations": {ANNOTATION: annotation},
        },
        "spec": {"unschedulable": unschedulable},
    }
