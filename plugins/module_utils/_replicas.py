# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Deciding which replica of a controller stays until another one serves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import Pod, same_controller, siblings

_HASH_LABEL = "pod-template-hash"


def replicated(pod: Pod) -> bool:
    """Whether the pod is one of a controller's interchangeable replicas (a Job's are not)."""
    return pod.controller is not None and not pod.of_daemonset and pod.controller.kind != "Job"


@dataclass(frozen=True)
class Ready:
    """The Ready pods of one controller, by what becomes of them.

    here: this process will let them go.
    neighbours: on nodes that somebody else is emptying for this collection.
    staying: the rest.
    """

    here: Sequence[Pod]
    neighbours: Sequence[Pod]
    staying: Sequence[Pod]

    @property
    def last(self) -> Pod | None:
        """The one that has to stay for now, if nobody else's does: the oldest."""
        return None if self.staying or not self.here else oldest(self.here)

    def neighbour_keeps(self, held: Pod) -> bool:
        """Whether the one that has to stay is with a neighbour: both sides choose the oldest of all."""
        return bool(self.neighbours) and oldest([held, *self.neighbours]) != held


def oldest(pods: Sequence[Pod]) -> Pod:
    """The same choice for everybody who looks."""
    return min(pods, key=lambda pod: (pod.created, pod.uid))


def sort_ready(
    one: Pod, everywhere: Iterable[Pod], waiting: Collection[str], going: Collection[str], emptied: Collection[str]
) -> Ready:
    """The replicas of ``one``'s controller.

    :param waiting: UIDs that this process still has to ask to leave.
    :param going: UIDs that it asked already.
    :param emptied: nodes that somebody else empties.
    """
    known = [pod for pod in siblings(one, everywhere) if pod.uid not in going]
    ready = [pod for pod in known if pod.ready]
    return Ready(
        here=[pod for pod in ready if pod.uid in waiting],
        neighbours=[pod for pod in ready if pod.uid not in waiting and pod.node in emptied],
        staying=[pod for pod in ready if pod.uid not in waiting and pod.node not in emptied],
    )


def alone(one: Pod, pods: Iterable[Pod]) -> bool:
    """Whether its controller has no other pod, not even one that is about to go."""
    family = {pod.uid for pod in pods if same_controller(one, pod) and not pod.finished}
    return family <= {one.uid}


def serving(slices: Iterable[Mapping[str, Any]], held: str, others: Iterable[str]) -> bool:
    """Whether each Service that sends requests to the pod ``held`` sends them to one of ``others`` too (UIDs)."""
    others = set(others)
    by_service: dict[tuple[str, str], set[str]] = {}
    for endpoint_slice in slices:
        metadata = endpoint_slice["metadata"]
        service = (metadata.get("labels") or {}).get("kubernetes.io/service-name") or metadata["name"]
        ready = by_service.setdefault((metadata["namespace"], service), set())
        for endpoint in endpoint_slice.get("endpoints") or []:
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                ready.add((endpoint.get("targetRef") or {}).get("uid") or "")
    return all(ready & others for ready in by_service.values() if held in ready)


def selector_for(pod: Pod) -> str | None:
    """A label selector that finds a pod's siblings cheaply; None when only their owner tells them."""
    if pod.controller and pod.controller.kind == "ReplicaSet" and _HASH_LABEL in pod.labels:
        return f"{_HASH_LABEL}={pod.labels[_HASH_LABEL]}"
    return None
