# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Times are written and read in UTC, wherever the host is."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch, iso


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2026-01-01T02:03:04Z", 1767232984.0),
        ("2026-01-01T02:03:04.250000Z", 1767232984.25),
        ("2026-01-01T02:03:04.123456789Z", 1767232984.123456789),
    ],
)
def test_times_are_read_with_their_fractions(written: str, seconds: float) -> None:
    assert epoch(written) == seconds
    assert iso(seconds) == written.partition(".")[0].rstrip("Z") + "Z"


@pytest.mark.parametrize(
    "written", ["", "yesterday", "2026-01-01", "2026-01-01T02:03:04+01:00", "2026-01-01T02:03:04.xZ"]
)
def test_what_is_no_such_time_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"does not match|unconverted|could not convert"):
        epoch(written)
