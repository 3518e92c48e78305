"""Where a run works, and how it is ended early."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness import network
from harness.install import tell
from harness.kept import logs_of_this_run


def end_as_ctrl_c_does() -> None:
    """From here on SIGTERM and SIGHUP end the run through the clean-up."""
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGHUP, _interrupted)


def _interrupted(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def workplace(size: str) -> Iterator[tuple[Path, Path]]:
    """A directory to work in and one for logs, for a run of this size; afterwards nothing is left but the logs."""
    network.sweep()
    logs = logs_of_this_run()
    tell(f"{size}; logs are in {logs}")
    directory = Path(tempfile.mkdtemp(prefix=f"{network.PREFIX}{os.getpid()}-"))
    directory.chmod(0o755)
    try:
        yield directory, logs
    finally:
        network.remove_own()
        shutil.rmtree(directory, ignore_errors=True)
