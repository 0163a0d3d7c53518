# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""A pod as a drain sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._conditions import is_ready
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch, iso

_MIRROR = "kubernetes.io/config.mirror"
# Kubernetes puts it on every cordoned node.
CORDON_TAINT: Mapping[str, Any] = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
# Mounting these keeps nothing on the node.
_NO_DATA = ("Socket", "CharDevice", "BlockDevice")


@dataclass(frozen=True)
class Controller:
    """The one owner that would bring a pod back."""

    kind: str
    api: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Pod:
    """What a drain has to know about a pod; the same pod is the same ``uid``."""

    uid: str
    namespace: str
    name: str
    node: str
    phase: str
    ready: bool
    created: str
    terminating: str | None
    controller: Controller | None
    mirror: bool
    empty_dirs: tuple[str, ...]
    finalizers: tuple[str, ...]
    labels: Mapping[str, str] = field(compare=False)
    spec: Mapping[str, Any] = field(compare=False, repr=False)

    @property
    def finished(self) -> bool:
        """Succeeded or Failed: nothing of it runs any more."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def of_daemonset(self) -> bool:
        """Whether its controller is a DaemonSet."""
        return bool(self.controller and self.controller.kind == "DaemonSet" and self.controller.api.startswith("apps/"))

    @property
    def ignores_cordon(self) -> bool:
        """Whether the scheduler may put it on a cordoned node."""
        return tolerates(self.spec, CORDON_TAINT)

    @property
    def claims(self) -> tuple[str, ...]:
        """The PersistentVolumeClaims that it uses, those made for it alone included."""
        volumes = self.spec.get("volumes") or []
        named = [v["persistentVolumeClaim"]["claimName"] for v in volumes if v.get("persistentVolumeClaim")]
        return (*named, *(f"{self.name}-{name}" for name in self.ephemeral_volumes))

    @property
    def ephemeral_volumes(self) -> tuple[str, ...]:
        """Volumes whose claim is deleted together with the pod."""
        return tuple(v["name"] for v in self.spec.get("volumes") or [] if v.get("ephemeral"))

    @property
    def host_paths(self) -> tuple[str, ...]:
        """Directories of the node that it may write to."""
        containers = [*(self.spec.get("containers") or []), *(self.spec.get("initContainers") or [])]
        mounts = [mount for container in containers for mount in container.get("volumeMounts") or []]
        written = {mount["name"] for mount in mounts if not mount.get("readOnly")}
        return tuple(
            v["hostPath"]["path"]
            for v in self.spec.get("volumes") or []
            if v.get("hostPath") and v["hostPath"].get("type") not in _NO_DATA and v["name"] in written
        )

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def read_pod(found: Mapping[str, Any]) -> Pod:
    """A pod as the API tells it."""
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    owner = next((ref for ref in metadata.get("ownerReferences") or [] if ref.get("controller")), None)
    return Pod(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        node=spec.get("nodeName") or "",
        phase=status.get("phase") or "",
        ready=is_ready(found),
        created=metadata.get("creationTimestamp") or "",
        terminating=_asked_to_leave(metadata),
        controller=owner and Controller(owner["kind"], owner.get("apiVersion") or "", owner["name"], owner["uid"]),
        mirror=_MIRROR in (metadata.get("annotations") or {}),
        empty_dirs=tuple(v["name"] for v in spec.get("volumes") or [] if v.get("emptyDir") is not None),
        finalizers=tuple(metadata.get("finalizers") or []),
        labels=metadata.get("labels") or {},
        spec=spec,
    )


def _asked_to_leave(metadata: Mapping[str, Any]) -> str | None:
    """When its deletion was asked for; the API tells when its grace period ends."""
    ends = metadata.get("deletionTimestamp")
    grace = metadata.get("deletionGracePeriodSeconds")
    if not ends or not grace:
        return ends
    return iso(epoch(ends) - grace)


def same_controller(pod: Pod, other: Pod) -> bool:
    """Whether one controller has both; one of another namespace that names it has not been made by it."""
    ours, theirs = pod.controller, other.controller
    return bool(ours and theirs and ours.uid == theirs.uid and pod.namespace == other.namespace)


def siblings(pod: Pod, pods: Iterable[Pod]) -> list[Pod]:
    """The pods of the same controller, without those that ended or are about to."""
    return [p for p in pods if same_controller(pod, p) and not p.finished and not p.terminating]


def tolerates(spec: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether a pod's tolerations cover a taint."""
    for toleration in spec.get("tolerations") or []:
        if toleration.get("effect") not in (None, "", taint.get("effect")):
            continue
        if toleration.get("operator") == "Exists":
            if toleration.get("key") in (None, "", taint.get("key")):
                return True
        elif toleration.get("key") == taint.get("key") and (toleration.get("value") or "") == (
            taint.get("value") or ""
        ):
            return True
    return False
