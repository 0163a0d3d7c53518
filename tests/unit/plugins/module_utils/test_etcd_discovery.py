# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_discovery as discovery
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done, Runner
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access

NOTHING_ASKED = Access("", None, None, None)
KUBEADM = [
    "etcd",
    "--advertise-client-urls=https://10.80.0.11:2379",
    "--cert-file=/etc/kubernetes/pki/etcd/server.crt",
    "--client-cert-auth=true",
    "--data-dir=/var/lib/etcd",
    "--key-file=/etc/kubernetes/pki/etcd/server.key",
    "--listen-client-urls=https://127.0.0.1:2379,https://10.80.0.11:2379",
    "--listen-metrics-urls=http://127.0.0.1:2381",
    "--name=cp1",
    "--trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt",
]


@pytest.mark.parametrize(
    ("argv", "environment", "flag", "value"),
    [
        (KUBEADM, {}, "name", "cp1"),
        (["etcd", "-name", "m1", "--data-dir", "/d"], {}, "name", "m1"),
        (["etcd", "--client-cert-auth", "--data-dir", "/d"], {}, "client-cert-auth", "true"),
        (["etcd"], {"ETCD_DATA_DIR": "/env"}, "data-dir", "/env"),
        (["etcd", "--data-dir=/flag"], {"ETCD_DATA_DIR": "/env"}, "data-dir", "/flag"),
        (["etcd", "--initial-cluster=a=https://10.0.0.1:2380"], {}, "initial-cluster", "a=https://10.0.0.1:2380"),
    ],
)
def test_settings(argv: list[str], environment: dict[str, str], flag: str, value: str) -> None:
    assert discovery.settings(argv, environment)[flag] == value


@pytest.mark.parametrize(
    ("flags", "endpoint"),
    [
        ({"listen-client-urls": "https://10.0.0.1:2379,https://127.0.0.1:2379"}, "https://127.0.0.1:2379"),
        ({"listen-client-urls": "https://[fd00::1]:2379,https://[::1]:2379"}, "https://[::1]:2379"),
        ({"listen-client-urls": "https://[fd00::1]:2379"}, "https://[fd00::1]:2379"),
        ({"listen-client-urls": "https://0.0.0.0:2379"}, "https://127.0.0.1:2379"),
        ({"listen-client-urls": "https://[::]:2379"}, "https://[::1]:2379"),
        ({"listen-client-urls": "http://127.0.0.1:2379,https://10.0.0.1:2379"}, "https://10.0.0.1:2379"),
        ({"listen-client-urls": "http://10.0.0.1:2379,http://127.0.0.1:2379"}, "http://127.0.0.1:2379"),
        ({"listen-client-urls": "http://0.0.0.0:2379"}, "http://127.0.0.1:2379"),
        ({"listen-client-urls": "unix:///run/etcd.sock"}, None),
        (
            {"listen-client-urls": "https://127.0.0.1:2379", "listen-client-http-urls": "https://127.0.0.1:2382"},
            "https://127.0.0.1:2382",
        ),
        ({"advertise-client-urls": "https://10.0.0.1:2379"}, "https://10.0.0.1:2379"),
        ({}, None),
    ],
)
def test_endpoint(flags: dict[str, str], endpoint: Optional[str]) -> None:
    assert discovery.choose_endpoint(flags) == endpoint


def test_kubeadms_health_check_client_comes_before_etcds_own_certificate(tmp_path: Path) -> None:
    flags = {
        **discovery.settings(KUBEADM),
        "trusted-ca-file": str(tmp_path / "ca.crt"),
        "cert-file": "/own.crt",
        "key-file": "/own.key",
    }
    assert discovery.choose_access(flags, NOTHING_ASKED).cert == "/own.crt"
    for name in ("healthcheck-client.crt", "healthcheck-client.key"):
        (tmp_path / name).touch()
    found = discovery.choose_access(flags, NOTHING_ASKED)
    assert (found.cert, found.key) == (
        str(tmp_path / "healthcheck-client.crt"),
        str(tmp_path / "healthcheck-client.key"),
    )


def test_what_was_asked_for_comes_first() -> None:
    asked = Access("https://10.0.0.9:2379", "/my/ca", "/my/crt", "/my/key")
    assert discovery.choose_access(discovery.settings(KUBEADM), asked) == asked


def test_what_is_empty_was_not_asked_for() -> None:
    flags = discovery.settings(KUBEADM)
    assert discovery.choose_access(flags, Access("", "", "", "")) == discovery.choose_access(flags, NOTHING_ASKED)


def test_where_nothing_is_said_it_has_to_be_named() -> None:
    flags = {"listen-client-urls": "unix:///run/etcd.sock"}
    with pytest.raises(CareError, match="option endpoint; of the roles etcd_backup_endpoint and etcd_restore_endpoint"):
        discovery.choose_access(flags, NOTHING_ASKED)
    asked = NOTHING_ASKED._replace(endpoint="http://127.0.0.1:2379")
    assert discovery.choose_access(flags, asked) == asked


def process(proc: Path, pid: str, executable: str, argv: list[str], network: str = "net:[1]", pod: str = "") -> None:
    """A process as /proc shows it."""
    home = proc / pid
    (home / "ns").mkdir(parents=True)
    os.symlink(executable, home / "exe")
    os.symlink(network, home / "ns" / "net")
    (home / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in argv))
    (home / "environ").write_bytes(b"HOME=/\0")
    (home / "cgroup").write_text(f"0::/kubepods.slice/kubepods-pod{pod}.slice/a.scope\n" if pod else "0::/\n")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with only ourselves."""
    process(tmp_path / "proc", "self", "/usr/bin/python3", ["python3"])
    return tmp_path / "proc"


def no_units(argv: list[str], **_more: Any) -> Done:
    return Done(argv, 0, "LoadState=not-found\n", "")


def found_in(proc: Path, asked: Access = NOTHING_ASKED, runner: Runner = no_units) -> discovery.Etcd:
    return discovery.discover(asked, manifest="/nonexistent/etcd.yaml", proc=str(proc), runner=runner)


def test_the_running_process_tells(proc: Path) -> None:
    process(proc, "17", "/usr/local/bin/etcd", KUBEADM)
    process(proc, "18", "/usr/local/bin/etcdctl", ["etcdctl", "--data-dir=/x"])
    etcd = found_in(proc)
    assert (etcd.name, etcd.data_dir, etcd.pid) == ("cp1", "/var/lib/etcd", 17)
    assert etcd.access.endpoint == "https://127.0.0.1:2379"


def test_a_pods_own_etcd_is_not_the_hosts(proc: Path) -> None:
    process(proc, "17", "/usr/local/bin/etcd", KUBEADM)
    process(proc, "30", "/usr/local/bin/etcd", ["etcd", "--data-dir=/var/lib/etcd-pod"], network="net:[2]")
    assert found_in(proc).pid == 17


def test_an_etcd_in_a_pod_of_the_api_is_nobodys_to_trust_even_on_the_hosts_network(proc: Path) -> None:
    process(proc, "17", "/usr/local/bin/etcd", KUBEADM, pod="1b4e28ba_2fa1_11d2_883f_0016d3cca427")
    with pytest.raises(discovery.NoEtcd):
        found_in(proc)
    process(proc, "18", "/usr/local/bin/etcd", KUBEADM, pod="0123456789abcdef0123456789abcdef")
    assert found_in(proc).pid == 18


def test_another_etcd_on_the_hosts_network(proc: Path) -> None:
    process(proc, "30", "/usr/local/bin/etcd", ["etcd", "--data-dir=/var/etcd/calico-data"])
    process(proc, "40", "/usr/local/bin/etcd", KUBEADM)
    assert found_in(proc).pid == 40


def test_two_that_may_be_meant_are_named(proc: Path) -> None:
    process(proc, "17", "/usr/local/bin/etcd", KUBEADM)
    process(
        proc, "30", "/usr/bin/etcd", ["etcd", "--data-dir=/var/lib/etcd2", "--listen-client-urls=https://[::]:2400"]
    )
    with pytest.raises(CareError, match=r"17, 30.*option endpoint"):
        found_in(proc)
    assert found_in(proc, NOTHING_ASKED._replace(endpoint="https://127.0.0.1:2400")).pid == 30
    with pytest.raises(CareError, match=r"'https://fd00::11:2400' is not an etcd endpoint.*option endpoint"):
        found_in(proc, NOTHING_ASKED._replace(endpoint="https://fd00::11:2400"))


def test_the_manifest_tells_when_etcd_is_down(proc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tmp_path / "etcd.yaml"
    manifest.touch()
    pod: dict[str, Any] = {"spec": {"containers": [{"name": "etcd", "command": KUBEADM}]}}
    monkeypatch.setattr(discovery, "read_objects", lambda paths: [pod] if paths == [str(manifest)] else [])
    etcd = discovery.discover(NOTHING_ASKED, str(manifest), str(proc))
    assert (etcd.name, etcd.pid) == ("cp1", None)


def test_the_unit_tells_when_etcd_is_down_and_has_no_manifest(proc: Path) -> None:
    def runner(argv: list[str], **_more: Any) -> Done:
        shown = f"LoadState=loaded\nExecStart={{ path=/e/etcd ; argv[]={' '.join(KUBEADM)} ; ignore_errors=no }}\n"
        return Done(argv, 0, shown if argv[2] == "etcd-member.service" else "LoadState=not-found\n", "")

    etcd = found_in(proc, runner=runner)
    assert (etcd.name, etcd.data_dir, etcd.pid) == ("cp1", "/var/lib/etcd", None)
    assert etcd.source == "etcd-member.service"


def test_the_settings_of_a_configuration_file(proc: Path, tmp_path: Path) -> None:
    path = tmp_path / "etcd.yml"
    path.touch()
    # With such a file etcd takes nothing from its flags.
    process(proc, "17", "/usr/bin/etcd", ["etcd", f"--config-file={path}", "--name=other"])
    config = {"name": "cp1", "data-dir": "/srv/etcd", "listen-client-urls": "https://10.0.0.1:2379"}

    def runner(argv: list[str], **_more: Any) -> Done:
        return Done(argv, 0, json.dumps(config), "") if argv[0] == "kubectl" else no_units(argv)

    etcd = found_in(proc, runner=runner)
    assert (etcd.name, etcd.data_dir, etcd.access.endpoint) == ("cp1", "/srv/etcd", "https://10.0.0.1:2379")


def test_the_api_servers_certificate_comes_before_etcds_own(proc: Path, tmp_path: Path) -> None:
    process(proc, "17", "/usr/local/bin/etcd", [*KUBEADM, f"--trusted-ca-file={tmp_path}/ca.crt"])
    pair = [tmp_path / "client.crt", tmp_path / "client.key"]
    flags = [f"--etcd-certfile={pair[0]}", f"--etcd-keyfile={pair[1]}"]
    process(proc, "18", "/usr/local/bin/kube-apiserver", ["kube-apiserver", *flags])
    assert found_in(proc).access.cert == "/etc/kubernetes/pki/etcd/server.crt"
    for path in pair:
        path.touch()
    access = found_in(proc).access
    assert [access.cert, access.key] == [str(path) for path in pair]


def test_a_host_without_etcd_is_told_apart(proc: Path) -> None:
    with pytest.raises(discovery.NoEtcd, match="on a master"):
        found_in(proc)


def test_a_configuration_file_is_not_guessed_at(proc: Path) -> None:
    process(proc, "17", "/usr/bin/etcd", ["etcd", "--config-file=/etc/etcd/etcd.yml"])
    with pytest.raises(CareError, match=r"/etc/etcd/etcd.yml.*endpoint, ca_cert"):
        found_in(proc)
