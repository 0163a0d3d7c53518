# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A unit is told whom its etcd joins, wherever it has its settings, and nothing of the user's own is changed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _restore_hold, _restore_told
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import settings
from ansible_collections.clustercare.kubeadm.plugins.module_utils._unit_command import read_command

UNIT = "etcd.service"
ONE = "cp1=https://[fd00::1]:2380"
BOTH = f"{ONE},cp2=https://[fd00::2]:2380"
JOINS = {"initial-cluster": BOTH, "initial-cluster-state": "existing"}


class Systemd:
    """Knows one unit, its drop-ins and what they name, as they were when it last read them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.deaf = False
        self.read = ""

    def text(self) -> str:
        return "\n".join(path.read_text() for path in [self.root / UNIT, *sorted(self.root.glob(f"{UNIT}.d/*.conf"))])

    def values(self, name: str) -> list[str]:
        found: list[str] = []
        for value in re.findall(rf"^{name}=(.*)$", self.read.replace("\\\n", " "), re.MULTILINE):
            found = [*found, value.replace("%%", "%")] if value else []
        return found

    def __call__(self, argv: list[str], stdin: Optional[str] = None, **_more: Any) -> Done:
        out = ""
        if argv[0] == "kubectl":
            out = json.dumps({**json.loads(Path(argv[argv.index("--patch-file") + 1]).read_text()), "kind": "Settings"})
        elif argv[1] == "daemon-reload":
            self.read = self.read if self.deaf else self.text()
        elif argv[1] == "cat":
            out = self.text()
        elif "BindReadOnlyPaths" in argv:
            out = "".join(f"BindReadOnlyPaths={value}:rbind\n" for value in self.values("BindReadOnlyPaths"))
        else:
            commands = [value.lstrip("-") for value in self.values("ExecStart")]
            rows = [f"ExecStart={{ path=x ; argv[]={command} ; ignore_errors=no }}" for command in commands]
            rows += [f"Environment={value}" for value in self.values("Environment")]
            rows += [f"EnvironmentFiles={value} (ignore_errors=no)" for value in self.values("EnvironmentFile")]
            out = "\n".join(["LoadState=loaded", *rows])
        return Done(argv, 0, out, "")


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    monkeypatch.setattr(_restore_hold, "DIRECTORY", str(tmp_path))
    return Systemd(tmp_path)


def written(systemd: Systemd, text: str) -> None:
    (systemd.root / UNIT).write_text(f"[Service]\n{text}\n")
    systemd.read = systemd.text()


def now(systemd: Systemd) -> tuple[dict[str, str], list[str]]:
    """The settings of the next start, and those that etcd would find twice: then it does not start."""
    command = read_command(UNIT, systemd)
    assert command
    twice = settings(command.argv).keys() & settings(["etcd"], command.environment).keys()
    return settings(command.argv, command.environment), sorted(twice)


def everything(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


FLAGS = f"--initial-cluster={ONE} --initial-cluster-state=new"


@pytest.mark.parametrize(
    "text",
    [
        f"ExecStart=/usr/bin/etcd --name=cp2 {FLAGS}",
        f"ExecStart=/usr/bin/etcd \\\n  --name cp2 \\\n  # the first one\n  --initial-cluster {ONE}",
        f"ExecStart=-/usr/bin/etcd --name=cp2 $MORE\nEnvironment='MORE={FLAGS}'",
        f"ExecStart=/usr/bin/etcd --name=cp2\nEnvironment=ETCD_INITIAL_CLUSTER={ONE}",
        "ExecStart=/usr/bin/etcd\nEnvironment=ETCD_NAME=other\nEnvironmentFile={file}",
        f"ExecStart=/usr/bin/etcd --name=cp2 --initial-cluster={ONE}\nEnvironment=ETCD_INITIAL_CLUSTER_STATE=new",
        "ExecStart=/usr/bin/etcd --name=cp2",
    ],
)
def test_a_unit_joins_and_is_as_before(systemd: Systemd, text: str) -> None:
    file = systemd.root / "etcd.env"
    file.write_text(f"ETCD_NAME=cp2\nETCD_INITIAL_CLUSTER='{ONE}'\nETCD_INITIAL_CLUSTER_STATE=new\n")
    written(systemd, text.replace("{file}", str(file)))
    before, (settled, _twice) = everything(systemd.root), now(systemd)
    _restore_told.plan(UNIT, BOTH, systemd)
    assert everything(systemd.root) == before
    _restore_told.tell(UNIT, BOTH, systemd)
    assert now(systemd) == ({**settled, **JOINS}, [])
    assert everything(systemd.root).items() >= before.items()
    # Another list, as when a run that was killed goes on after somebody has changed the members.
    _restore_told.tell(UNIT, ONE, systemd)
    assert now(systemd)[0]["initial-cluster"] == ONE
    _restore_hold.forget([UNIT], systemd)
    assert everything(systemd.root) == before
    assert now(systemd)[0] == settled


def test_told_the_same_twice_nothing_is_written(systemd: Systemd) -> None:
    written(systemd, f"ExecStart=/usr/bin/etcd {FLAGS}")
    _restore_told.tell(UNIT, BOTH, systemd)
    path = Path(_restore_hold.told_path(UNIT, "conf"))
    before = path.stat().st_mtime_ns
    _restore_told.tell(UNIT, BOTH, systemd)
    assert path.stat().st_mtime_ns == before


def test_a_percent_sign_is_one(systemd: Systemd) -> None:
    zone = "cp2=https://[fe80::2%25eth0]:2380"
    written(systemd, f"ExecStart=/usr/bin/etcd {FLAGS}")
    _restore_told.tell(UNIT, zone, systemd)
    assert now(systemd)[0]["initial-cluster"] == zone
    assert "%%25eth0" in Path(_restore_hold.told_path(UNIT, "conf")).read_text()


CONFIG = {
    "name": "cp2",
    "initial-cluster": ONE,
    "log-outputs": ["stderr"],
    "client-transport-security": {"client-cert-auth": True},
}


@pytest.mark.parametrize("how", ["--config-file={}", "\nEnvironment=ETCD_CONFIG_FILE={}"])
def test_another_configuration_file_takes_the_place_of_the_own(systemd: Systemd, how: str) -> None:
    own = systemd.root / "etcd.json"
    own.write_text(json.dumps(CONFIG))
    own.chmod(0o640)
    written(systemd, f"ExecStart=/usr/bin/etcd {how.format(own)}")
    before = everything(systemd.root)
    for cluster in (BOTH, ONE):
        _restore_told.tell(UNIT, cluster, systemd)
        assert _restore_told.says(UNIT, cluster, systemd)
        ours = Path(_restore_hold.told_path(UNIT, "json"))
        assert json.loads(ours.read_text()) == {**CONFIG, **JOINS, "initial-cluster": cluster}
        assert ours.stat().st_mode & 0o777 == 0o640
        assert systemd.values("BindReadOnlyPaths") == [f"{ours}:{own}"]
    _restore_hold.forget([UNIT], systemd)
    assert everything(systemd.root) == before
    assert not _restore_told.says(UNIT, ONE, systemd)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ExecStart=/bin/sh -c 'exec etcd'", r"a program of its own \(/bin/sh\)"),
        ("", r"a program of its own \(\)"),
        ("ExecStart=/usr/bin/etcd --discovery-srv=example.org", "--discovery-srv, with which none can join"),
        ("ExecStart=/usr/bin/etcd\nEnvironment=ETCD_DISCOVERY=https://example.org/1", "--discovery, with which"),
        (f"Type=oneshot\nExecStart=/usr/bin/true\nExecStart=/usr/bin/etcd {FLAGS}", "just one ExecStart="),
        ("ExecStart=/usr/bin/etcd --config-file=/nowhere/etcd.yml", "/nowhere/etcd.yml, which is not on this host"),
    ],
)
def test_what_cannot_be_told_is_said_before_anything_is_written(systemd: Systemd, text: str, said: str) -> None:
    written(systemd, text)
    before = everything(systemd.root)
    with pytest.raises(CareError, match=said):
        _restore_told.plan(UNIT, BOTH, systemd)
    assert everything(systemd.root) == before


@pytest.mark.parametrize(
    ("deaf", "theirs"), [(True, ""), (False, f"[Service]\nExecStart=\nExecStart=/usr/bin/etcd --initial-cluster={ONE}")]
)
def test_a_try_without_effect_leaves_nothing(systemd: Systemd, deaf: bool, theirs: str) -> None:
    written(systemd, f"ExecStart=/usr/bin/etcd {FLAGS}")
    systemd.deaf = deaf
    if theirs:
        later = systemd.root / f"{UNIT}.d" / "zzz.conf"
        later.parent.mkdir()
        later.write_text(theirs)
    before = everything(systemd.root)
    with pytest.raises(CareError, match="another file of the unit overrules it"):
        _restore_told.tell(UNIT, BOTH, systemd)
    assert everything(systemd.root) == before
