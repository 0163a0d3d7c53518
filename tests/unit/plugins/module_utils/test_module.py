# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every module's answer goes through."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import passwords_in, printable


def test_what_others_say_steers_no_terminal_and_shows_no_password(run_module: Any) -> None:
    said = "\x1b[2J\x9b31m\r proxy http://me:open-sesame@proxy:3128"
    result = run_module(
        "maintenance_hook",
        {"name": "x", "command": ["sh", "-c", 'echo "$1"; exit 1', "sh", said], "timeout": 0.1, "interval": 0.1},
    )
    assert result["failed"] and "open-sesame" not in str(result)
    assert "://me:********@proxy:3128" in result["said"]
    assert result["msg"].isprintable()


def test_lines_stay_lines() -> None:
    assert printable("one\n\ttwo \u00e9\x07") == "one\n\ttwo \u00e9\ufffd"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"uri": ["https://me:open-sesame@mirror.example.org/v1.35/deb/"]}, ["open-sesame"]),
        ([{"before": "[kubernetes]\nbaseurl=https://m/\nusername=me\npassword = open-sesame\n"}], ["open-sesame"]),
        ("-  proxy_password=open-sesame", ["open-sesame"]),
        (("HTTPS_PROXY=http://:open-sesame@proxy", None, 7), ["open-sesame"]),
        ("https://10.0.0.11:2380,https://[fd00::11]:2380", []),
        ("docker-pullable://etcd:3.6.5-0@sha256:0123", []),
        ("https://me@mirror/x:y@z, https://mirror:8443/a@b", []),
        ("kubectl get secret --password", []),
    ],
)
def test_passwords_are_found_where_addresses_and_repositories_have_them(value: Any, found: list[str]) -> None:
    assert list(passwords_in(value)) == found
