# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._unit_command import (
    command_of,
    environment_file,
    environment_files,
    exec_starts,
    expanded,
    read_command,
)

COMMAND = "/opt/etcd/etcd --name=cp1 $ETCD_MORE --data-dir=${DIR}/etcd"
SHOWN = f"""User=etcd
Group=etcd
ExecStart={{ path=/opt/etcd/etcd ; argv[]={COMMAND} ; ignore_errors=no ; start_time=[n/a] ; status=0/0 }}
Environment=DIR=/var/lib ETCD_NAME=other "ETCD_LOG=two words"
EnvironmentFiles=/etc/etcd.env (ignore_errors=no)
EnvironmentFiles=/etc/more.env (ignore_errors=yes)
LoadState=loaded
"""


def test_what_a_unit_would_run() -> None:
    files = {"/etc/etcd.env": "ETCD_MORE=--quota-backend-bytes=5 --listen-client-urls=https://[::1]:2379\nDIR=/srv\n"}
    found = command_of(SHOWN, files)
    assert found.argv == [
        "/opt/etcd/etcd",
        "--name=cp1",
        "--quota-backend-bytes=5",
        "--listen-client-urls=https://[::1]:2379",
        "--data-dir=/srv/etcd",
    ]
    assert found.program == "/opt/etcd/etcd"
    assert found.environment["ETCD_LOG"] == "two words"
    # A file comes after Environment=, as systemd has it.
    assert found.environment["DIR"] == "/srv"
    assert (found.user, found.group, found.masked) == ("etcd", "etcd", False)


def test_environment_files_in_their_order() -> None:
    assert environment_files(SHOWN) == ["/etc/etcd.env", "/etc/more.env"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ETCD_NAME=cp1\n", {"ETCD_NAME": "cp1"}),
        ("# ETCD_NAME=cp1\n; ETCD_NAME=cp2\n\n", {}),
        ("ETCD_DATA_DIR='/var/lib/my etcd'\n", {"ETCD_DATA_DIR": "/var/lib/my etcd"}),
        ('ETCD_NAME="cp1"\n', {"ETCD_NAME": "cp1"}),
        ("ETCD_INITIAL_CLUSTER=a=https://10.0.0.1:2380,b=https://10.0.0.2:2380", None),
        ("ETCD_LISTEN_CLIENT_URLS=https://10.0.0.1:2379,\\\nhttps://127.0.0.1:2379\n", None),
    ],
)
def test_environment_file(text: str, found: Optional[dict[str, str]]) -> None:
    if found is None:
        name, _equals, value = text.replace("\\\n", "").strip().partition("=")
        found = {name: value}
    assert environment_file(text) == found


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("$FLAGS", ["--a=1", "--b=2 3"]),
        ("${FLAGS}", ["--a=1 '--b=2 3'"]),
        ("--x=${NAME}", ["--x=cp1"]),
        ("$NONE", []),
        ("--x=${NONE}", ["--x="]),
        ("--cost=$$5", ["--cost=$5"]),
    ],
)
def test_variables(word: str, words: list[str]) -> None:
    assert expanded([word], {"FLAGS": "--a=1 '--b=2 3'", "NAME": "cp1"}) == words


def test_a_masked_unit() -> None:
    assert command_of("LoadState=masked\n", {}).masked
    assert command_of("LoadState=masked\n", {}).program == ""


@pytest.mark.parametrize(("load", "there"), [("loaded", True), ("masked", True), ("not-found", False), ("", False)])
def test_a_unit_that_is_not_there(load: str, there: bool) -> None:
    def runner(argv: list[str], **_more: Any) -> Done:
        return Done(argv, 0, f"LoadState={load}\n" if load else "", "")

    assert bool(read_command("etcd.service", runner)) is there


def test_a_host_without_systemd() -> None:
    def runner(argv: list[str], **_more: Any) -> Done:
        raise CareError("systemctl cannot be run on this host")

    assert read_command("etcd.service", runner) is None


def test_the_environment_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "etcd.env"
    path.write_text("ETCD_DATA_DIR=/srv/etcd\n")

    def runner(argv: list[str], **_more: Any) -> Done:
        return Done(argv, 0, f"LoadState=loaded\nEnvironmentFiles={path} (ignore_errors=no)\n", "")

    command = read_command("etcd.service", runner)
    assert command is not None
    assert command.environment == {"ETCD_DATA_DIR": "/srv/etcd"}


# What systemctl cat shows: each file under its name.
CAT = """# /etc/systemd/system/etcd.service
[Unit]
Description=ExecStart=no
[Service]
ExecStart = /usr/bin/etcd \\
  # what it is called
  --name="my etcd" \\
  --data-dir=%S/etcd
ExecStartPre=/bin/true

# /etc/systemd/system/etcd.service.d/10-user.conf
[Service]
User=etcd
"""


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ("", ['/usr/bin/etcd    --name="my etcd"    --data-dir=%S/etcd']),
        ("[Service]\nExecStart=\n", []),
        ("[Service]\nExecStart=\nExecStart=-/opt/etcd $FLAGS\n", ["-/opt/etcd $FLAGS"]),
        ("[Service]\n[Install]\nExecStart=\n", ['/usr/bin/etcd    --name="my etcd"    --data-dir=%S/etcd']),
    ],
)
def test_commands_as_they_are_written(more: str, found: list[str]) -> None:
    assert exec_starts(CAT + more) == found
