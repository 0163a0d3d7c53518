# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Of which cluster a kubeconfig speaks, read before anything is sent to it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import ssl
from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import Identity

_SERVICE_ACCOUNT_CA = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def identify(auth: Mapping[str, Any], environ: Mapping[str, str]) -> Identity:
    """Read server, CA and TLS verification from connection options (those of kubernetes.core, completed).

    :raises CareError: when the kubeconfig cannot be read.
    """
    origin, cluster = _cluster_of(auth, environ)
    server = str(auth.get("host") or cluster.get("server") or "")
    verified = not cluster.get("insecure-skip-tls-verify")
    if auth.get("validate_certs") is not None:
        verified = bool(auth["validate_certs"])
    return Identity(origin, server, _digests(auth, cluster, origin), verified)


def certificate_digests(pem: str) -> tuple[str, ...]:
    """SHA-256 of each certificate of a bundle, as hexadecimal over its DER form."""
    return tuple(hashlib.sha256(ssl.PEM_cert_to_DER_cert(found)).hexdigest() for found in _PEM.findall(pem))


def _cluster_of(auth: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Where the connection comes from, in words, and its cluster entry."""
    given = auth.get("kubeconfig")
    if isinstance(given, Mapping):
        return "The kubeconfig", _current(dict(given), auth.get("context"))
    if auth.get("host") and not given:
        return "The connection option host", {}
    in_pod = environ.get("KUBERNETES_SERVICE_HOST") and os.path.exists(_SERVICE_ACCOUNT_CA)
    if not given and not auth.get("context") and in_pod:
        host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
        return "The pod's service account", {
            "server": f"https://{host}:{port}",
            "certificate-authority": _SERVICE_ACCOUNT_CA,
        }
    paths = str(given or environ.get("KUBECONFIG") or "~/.kube/config").split(os.pathsep)
    merged = _merge([os.path.expanduser(path) for path in paths if path])
    return f"The kubeconfig {os.pathsep.join(paths)}", _current(merged, auth.get("context"))


def _merge(paths: list[str]) -> dict[str, Any]:
    """Several kubeconfig files as one: the first that names a thing wins."""
    import yaml  # pylint: disable=import-outside-toplevel

    merged: dict[str, Any] = {"clusters": [], "contexts": []}
    found = [path for path in paths if os.path.exists(path)]
    if not found:
        raise CareError(f"The kubeconfig {os.pathsep.join(paths)} does not exist (option kubeconfig).")
    for path in found:
        try:
            with open(path, encoding="utf-8") as file:
                loaded = yaml.safe_load(file) or {}
        except (OSError, yaml.YAMLError) as error:
            raise CareError(f"The kubeconfig {path} cannot be read: {error}") from error
        if loaded.get("current-context"):
            merged.setdefault("current-context", loaded["current-context"])
        for entry in loaded.get("clusters") or []:
            authority = (entry.get("cluster") or {}).get("certificate-authority")
            if authority:
                entry["cluster"]["certificate-authority"] = os.path.join(os.path.dirname(path), authority)
            merged["clusters"].append(entry)
        merged["contexts"].extend(loaded.get("contexts") or [])
    return merged


def _current(config: dict[str, Any], context: Optional[str]) -> dict[str, Any]:
    wanted = context or config.get("current-context")
    cluster = ""
    for entry in config.get("contexts") or []:
        if entry.get("name") == wanted:
            cluster = (entry.get("context") or {}).get("cluster", "")
            break
    for entry in config.get("clusters") or []:
        if entry.get("name") == cluster:
            return dict(entry.get("cluster") or {})
    raise CareError(f"The kubeconfig has no cluster for its context '{wanted}' (options kubeconfig and context).")


def _digests(auth: Mapping[str, Any], cluster: dict[str, Any], origin: str) -> tuple[str, ...]:
    path = auth.get("ca_cert") or cluster.get("certificate-authority")
    data = None if auth.get("ca_cert") else cluster.get("certificate-authority-data")
    try:
        if data:
            return certificate_digests(base64.b64decode(data).decode("ascii", "replace"))
        if path:
            with open(os.path.expanduser(str(path)), encoding="ascii", errors="replace") as file:
                return certificate_digests(file.read())
    except (OSError, ValueError, binascii.Error) as error:
        raise CareError(f"{origin} has a CA certificate that cannot be read: {error}") from error
    return ()
