"""Installs what a fresh Debian machine lacks, without leaving a service of Debian's running."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from harness.failure import HarnessBroken

SLIXMPP = "slixmpp==1.17.0"
POLICY = Path("/usr/sbin/policy-rc.d")
NETWORK = ["iproute2", "openssl", "unbound", "ldnsutils", "bind9-dnsutils", "util-linux", "python3-venv"]
PEERS = {
    "prosody": ["prosody", "lua-unbound"],
    "ejabberd": ["ejabberd"],
    "jabberd2": ["jabberd2", "gcc"],
    "comity": ["biboumi", "ngircd"],
}
CLIENTS = ["profanity", "go-sendxmpp", "tmux"]


def tell(text: str) -> None:
    """Says on standard error what is going on."""
    print(f"interop: {text}", file=sys.stderr, flush=True)


def packages(kinds: set[str], others: list[str] = CLIENTS) -> None:
    """Installs the missing packages for these makes of server, and others."""
    debian(NETWORK + others + [package for kind in sorted(kinds) for package in PEERS[kind]])


def debian(wanted: list[str]) -> None:
    """Installs those of these packages that are missing."""
    missing = [package for package in wanted if not installed(package)]
    if not missing:
        return
    tell(f"installing {', '.join(missing)} with apt-get (once)")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with services_stay_off():
        for command in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            done = subprocess.run(
                ["apt-get", "-qq", *command], env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
            if done.returncode:
                raise HarnessBroken(f"apt-get {command[0]} failed: {done.stdout[-800:]}")


def installed(package: str) -> bool:
    """Whether dpkg has this package completely."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package], capture_output=True, text=True)
    return done.stdout == "installed"


def version(kind: str) -> str:
    """The version of the package of a server; nothing for one that is no package."""
    return release(kind) if kind in PEERS[kind] else ""


def release(package: str) -> str:
    """The version of an installed package of Debian."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True)
    return done.stdout


def run(command: list[str], folder: Path | None = None) -> None:
    """Runs a command that gets or builds something."""
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise HarnessBroken(f"`{' '.join(command)}` failed: {done.stdout[-800:]}")


@contextlib.contextmanager
def services_stay_off() -> Iterator[None]:
    """Has policy-rc.d forbid every start of a service while packages are configured."""
    aside = POLICY.with_name("policy-rc.d.before-interop")
    had_one = POLICY.exists()
    if had_one:
        POLICY.rename(aside)
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
        if had_one:
            aside.rename(POLICY)


def slixmpp(cache: Path) -> Path:
    """The Python of a virtual environment with slixmpp, made on first use."""
    venv = cache / "venv"
    python, mark = venv / "bin" / "python", venv / SLIXMPP
    if not mark.exists():
        tell(f"installing {SLIXMPP} into {venv} (once)")
        for command in (
            ["/usr/bin/python3", "-m", "venv", "--clear", str(venv)],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", SLIXMPP],
        ):
            run(command)
        mark.touch()
    return python


def comity(root: Path, binary: Path) -> None:
    """Builds Comity, unless the environment names a binary."""
    if "COMITY" not in os.environ:
        tell("building Comity (cargo build --release)")
        if subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=root).returncode:
            raise HarnessBroken("cargo build --release failed")
    if not os.access(binary, os.X_OK):
        raise HarnessBroken(f"there is no program at {binary}")
