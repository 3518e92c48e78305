"""A D-Bus of one user, on which a program can be told what its menus would tell it."""

import re

from harness.failure import CaseFailed, HarnessBroken
from harness.process import Process, run

from clients.program import PATIENCE, Place

#: What it takes.
PACKAGES = ("dbus", "libglib2.0-bin")
CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


class SessionBus:
    """The bus of one home. No service is started on it by itself."""

    def __init__(self, place: Place, user: str | None = None):
        self._place = place
        self._user = user
        self._socket = place.home / "bus"
        self._daemon: Process | None = None

    @property
    def environment(self) -> dict[str, str]:
        """How programs find it."""
        return {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={self._socket}"}

    async def start(self) -> None:
        """Starts it, unless it runs."""
        if self._daemon:
            return
        config = self._place.home / "bus.conf"
        config.write_text(CONFIG.format(socket=self._socket))
        command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address"]
        self._daemon = await Process.start(
            "bus", self._place.namespace.command(command, self._user), self._place.logs / "bus.log"
        )
        await self._daemon.line("^unix:", PATIENCE)

    async def call(self, destination: str, path: str, method: str, *arguments: str) -> str:
        """Calls a method; arguments and answer are in the notation of GVariant."""
        command = ["gdbus", "call", "--session", "--dest", destination, "--object-path", path, "--method", method, *arguments]
        inside = self._place.namespace.command(command, self._user)
        try:
            return await run(inside, PATIENCE, env=self.environment)
        except HarnessBroken as error:
            raise CaseFailed(str(error)) from None

    async def number(self, *call: str) -> str:
        """Calls a method that answers with one number."""
        answer = await self.call(*call)
        found = re.search(r"-?\d+(?=,?\)\s*$)", answer)
        if found is None:
            raise CaseFailed(f"{call[2]} answered {answer}")
        return found[0]

    async def stop(self) -> None:
        """Ends it."""
        if self._daemon:
            await self._daemon.stop()
