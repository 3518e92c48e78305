"""What stays on disk after a run."""

import datetime
import os
import shutil
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
ROOT = HOME.parent
CACHE = HOME / ".cache"
KEPT_LOGS = 10


def logs_of_this_run() -> Path:
    """A new directory for logs; the oldest ones go."""
    parent = CACHE / "logs"
    parent.mkdir(parents=True, exist_ok=True)
    for old in sorted(parent.iterdir())[: -KEPT_LOGS + 1]:
        shutil.rmtree(old, ignore_errors=True)
    logs = parent / f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}"
    logs.mkdir()
    return logs
