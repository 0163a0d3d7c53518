# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Where this host's etcd listens, what it trusts, where its data is: asked of etcd itself, its manifest or its unit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Optional
from urllib.parse import urlsplit

from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access, parts_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_config_file import read_flags
from ansible_collections.clustercare.kubeadm.plugins.module_utils._offline import read_objects
from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import is_hosts_own, link
from ansible_collections.clustercare.kubeadm.plugins.module_utils._unit_command import read_command

UNITS = ("etcd", "etcd-member", "etcd-server")
MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


class Etcd(NamedTuple):
    """This host's etcd."""

    name: str
    data_dir: str
    access: Access
    source: str
    pid: Optional[int]
    # As etcd names them, without dashes.
    flags: Mapping[str, str] = MappingProxyType({})


class NoEtcd(CareError):
    """Nothing on this host says that it runs etcd."""


def settings(argv: list[str], environment: Optional[dict[str, str]] = None) -> dict[str, str]:
    """etcd's settings by flag name: ``--flag=value``, ``--flag value``, ``-flag``, and ``ETCD_FLAG`` below them."""
    found = {
        name[len("ETCD_") :].lower().replace("_", "-"): value
        for name, value in (environment or {}).items()
        if name.startswith("ETCD_")
    }
    return {**found, **dict(written_flags(argv))}


def written_flags(argv: list[str]) -> Iterator[tuple[str, str]]:
    """Flags without dashes and their values, in order; some may be there more than once."""
    words = argv[1:]
    for index, word in enumerate(words):
        if not word.startswith("-"):
            continue
        flag, equals, value = word.lstrip("-").partition("=")
        if not equals:
            following = words[index + 1] if index + 1 < len(words) else ""
            value = following if following and not following.startswith("-") else "true"
        yield flag, value


def whole_settings(
    argv: list[str], environment: Optional[dict[str, str]] = None, runner: Runner = run
) -> dict[str, str]:
    """The same, also where a configuration file holds them.

    :raises CareError: there is such a file and it cannot be read.
    """
    found = settings(argv, environment)
    return read_flags(found["config-file"], runner) if found.get("config-file") else found


def choose_endpoint(flags: dict[str, str]) -> Optional[str]:
    """The URL to ask: HTTPS before plain HTTP, loopback before the others; a wildcard address is asked on loopback."""
    sources = ("listen-client-http-urls", "listen-client-urls", "advertise-client-urls")
    written = next((flags[flag] for flag in sources if flags.get(flag)), "")
    urls = [url.strip() for url in written.split(",") if url.strip()]
    usable = []
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            continue
        host = _WILDCARDS.get(parts.hostname) or (f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname)
        usable.append(f"{parts.scheme}://{host}:{parts.port or 2379}")

    def rank(url: str) -> tuple[bool, bool]:
        return url.startswith("http:"), urlsplit(url).hostname not in ("127.0.0.1", "::1", "localhost")

    return min(usable, key=rank, default=None)


def choose_access(flags: dict[str, str], wanted: Access, server: Sequence[str] = ()) -> Access:
    """Endpoint and certificates: what was asked for, else kubeadm's health check client, else the API server's, else
    etcd's own certificate.

    :param wanted: the task's options; empty ones are found out.
    :param server: the command line of this host's API server: its certificate is made for etcd's clients.
    """
    endpoint = wanted.endpoint or choose_endpoint(flags)
    if not endpoint:
        raise CareError(
            "This host's etcd does not say where it listens "
            f"(--listen-client-urls={flags.get('listen-client-urls', '')}); name it (option endpoint; of the roles "
            "etcd_backup_endpoint and etcd_restore_endpoint)."
        )
    ca = wanted.ca or flags.get("trusted-ca-file") or None
    cert, key = wanted.cert, wanted.key
    if not cert and ca:
        beside = os.path.join(os.path.dirname(ca), "healthcheck-client")
        if os.path.exists(beside + ".crt") and os.path.exists(beside + ".key"):
            cert, key = beside + ".crt", beside + ".key"
    if not cert:
        names = settings(list(server))
        pair = names.get("etcd-certfile", ""), names.get("etcd-keyfile", "")
        if all(os.path.isfile(path) for path in pair):
            cert, key = pair
    if not cert:
        cert, key = flags.get("cert-file") or None, flags.get("key-file") or None
    return Access(endpoint, ca, cert, key)


def _words(path: str) -> list[str]:
    """What /proc writes with a zero byte after each word; nothing when the process is gone."""
    try:
        with open(path, "rb") as file:
            return [word.decode("utf-8", "replace") for word in file.read().split(b"\0") if word]
    except OSError:
        return []


def processes(proc: str = "/proc", program: str = "etcd") -> list[tuple[int, list[str], dict[str, str]]]:
    """Every etcd of this host in its own network: pid, argv, environment. One in somebody's pod is not among them."""
    network = link(f"{proc}/self/ns/net")
    found = []
    for entry in os.listdir(proc):
        if not entry.isdigit():
            continue
        executable = link(f"{proc}/{entry}/exe").split(" (deleted)")[0]
        if os.path.basename(executable) != program or link(f"{proc}/{entry}/ns/net") != network:
            continue
        if not is_hosts_own(int(entry), program, proc):
            continue
        argv = _words(f"{proc}/{entry}/cmdline")
        pairs = [word.partition("=") for word in _words(f"{proc}/{entry}/environ")]
        if argv:
            found.append((int(entry), argv, {name: value for name, _equals, value in pairs}))
    return sorted(found)


def server_argv(proc: str = "/proc") -> list[str]:
    """The command line of this host's API server; empty when none runs."""
    return next((argv for _pid, argv, _environment in processes(proc, "kube-apiserver")), [])


def manifest_argv(pod: dict[str, Any]) -> list[str]:
    """The argv of the container named etcd in a pod."""
    containers = (pod.get("spec") or {}).get("containers") or []
    for container in containers:
        if container.get("name") == "etcd" or len(containers) == 1:
            return [*(container.get("command") or []), *(container.get("args") or [])]
    return []


def unit_settings(runner: Runner = run) -> Optional[tuple[str, dict[str, str]]]:
    """The unit that runs etcd on this host and its settings; None without one."""
    for name in UNITS:
        command = read_command(f"{name}.service", runner)
        if command:
            return f"{name}.service", settings(command.argv or ["etcd"], command.environment)
    return None


def discover(wanted: Access, manifest: str = MANIFEST, proc: str = "/proc", runner: Runner = run) -> Etcd:
    """This host's etcd, from the running process, else from its manifest, else from its unit.

    :raises NoEtcd: when there is none.
    """
    running = processes(proc)
    if len(running) > 1:
        # Another etcd on the host's network (Calico's, for one): the cluster's own has kubeadm's or the default data.
        ours = [one for one in running if settings(one[1], one[2]).get("data-dir", "").startswith("/var/lib/etcd")]
        if len(ours) != 1:
            pids = ", ".join(str(pid) for pid, _argv, _environment in running)
            if not wanted.endpoint:
                raise CareError(f"Several etcd processes run here ({pids}); say which is meant with option endpoint.")
            _scheme, _host, port = parts_of(wanted.endpoint)
            ours = [one for one in running if f":{port}" in settings(one[1], one[2]).get("listen-client-urls", "")]
        running = ours or running
    if running:
        pid, argv, environment = running[0]
        flags = settings(argv, environment)
        source = f"process {pid}"
        found_pid: Optional[int] = pid
    elif os.path.exists(manifest):
        flags = settings(manifest_argv(read_objects([manifest])[0]))
        source = manifest
        found_pid = None
    else:
        unit = unit_settings(runner)
        if unit is None:
            raise NoEtcd(
                f"No etcd runs on this host, and there is neither {manifest} nor a unit of systemd called etcd: run "
                "this on a master that has etcd, as root."
            )
        source, flags = unit
        found_pid = None
    if flags.get("config-file") and not (wanted.endpoint and wanted.ca):
        flags = read_flags(flags["config-file"], runner)
    return Etcd(
        name=flags.get("name", "default"),
        data_dir=flags.get("data-dir", ""),
        access=choose_access(flags, wanted, server_argv(proc)),
        source=source,
        pid=found_pid,
        flags=flags,
    )
