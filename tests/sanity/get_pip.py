# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stands in for the get-pip script that ansible-test downloads.

Python carries a pip, and that one fetches the wanted pip.
ansible-test starts this inside an empty virtual environment with pip's options and ``pip==VERSION``.
"""

from __future__ import annotations

import ensurepip
import os
import subprocess
import sys

# ensurepip points PIP_CONFIG_FILE at nothing for itself; the machine's own index and certificates are needed after it.
environment = dict(os.environ)
wanted = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
ensurepip.bootstrap(default_pip=True)
pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
subprocess.run([*pip, *wanted], env=environment, check=True)
