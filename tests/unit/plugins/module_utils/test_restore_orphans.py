# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is left over after a restore is named, with few words, and without failing."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_orphans import orphans


class Server:
    """An API server that answers in pages."""

    def __init__(self, **objects: list[dict[str, Any]]) -> None:
        self.objects = objects

    def get(self, path: str) -> dict[str, Any]:
        parts = urlsplit(path)
        asked = parse_qs(parts.query)
        items = self.objects.get(parts.path.rpartition("/")[2])
        if items is None:
            raise CareError(f"it answers 403 to {parts.path}.")
        begin, size = int(asked.get("continue", ["0"])[0]), int(asked["limit"][0])
        left = {"continue": str(begin + size)} if begin + size < len(items) else {}
        return {"metadata": left, "items": items[begin : begin + size]}

    def close(self) -> None:
        """Nothing to close."""


def named(name: str, namespace: str = "", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **({"namespace": namespace} if namespace else {})}, **more}


def server(**other: list[dict[str, Any]]) -> Any:
    empty: dict[str, list[dict[str, Any]]] = {
        "pods": [],
        "certificatesigningrequests": [],
        "persistentvolumes": [],
        "persistentvolumeclaims": [],
    }
    return Server(**{"nodes": [named("w1")], **empty, **other})


def test_each_kind_is_named() -> None:
    found = orphans(
        server(
            pods=[
                named("web-1", "shop", spec={"nodeName": "w3"}),
                named("web-2", "shop", spec={"nodeName": "w1"}),
                named("web-3", "shop", spec={}),
            ],
            certificatesigningrequests=[
                named("csr-old", status={"conditions": [{"type": "Approved"}]}),
                named("csr-new", status={}),
            ],
            persistentvolumes=[
                named("pv-1", status={"phase": "Bound"}),
                named("pv-2", status={"phase": "Released"}),
                named("pv-3", status={"phase": "Available"}),
            ],
            persistentvolumeclaims=[
                named("data", "shop", status={"phase": "Lost"}),
                named("data-2", "shop", status={"phase": "Bound"}),
            ],
        )
    )
    assert found == [
        "Pod shop/web-1 on Node w3, which is not there",
        "CertificateSigningRequest csr-new is pending",
        "PersistentVolume pv-2 is Released",
        "PersistentVolumeClaim shop/data is Lost",
    ]


def test_nothing_is_left_over() -> None:
    assert orphans(server()) == []


def test_of_many_the_first_are_named_and_the_rest_counted() -> None:
    found = orphans(server(pods=[named(f"web-{n:04}", "shop", spec={"nodeName": "w3"}) for n in range(1201)]))
    assert len(found) == 21
    assert found[0].startswith("Pod shop/web-0000 on Node w3")
    assert found[-1] == "1181 more of such pods"


def test_what_cannot_be_read_is_said() -> None:
    limited = server()
    del limited.objects["persistentvolumes"]
    assert orphans(limited) == ["could not be looked for: it answers 403 to /api/v1/persistentvolumes."]
