# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Lab


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    assert os.geteuid() == 0, "the integration tests make labs, and labs need root"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab that the test module fills and that is gone afterwards; $LAB_NAME keeps two checkouts apart."""
    lab = Lab(os.environ.get("LAB_NAME", "test"))
    yield lab
    lab.run("down")
