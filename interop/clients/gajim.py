"""Gajim on a screen, driven by keys and by what its menus do on D-Bus; what it shows is read from its history."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from harness import install
from harness.process import Process, run

from clients import desktop, session_bus
from clients.desktop import Desktop
from clients.program import PATIENCE, Account, Place, Program
from clients.session_bus import SessionBus

# It does not want to be run by root; this user of Debian has nothing to lose.
USER = "games"
APPLICATION = ("org.gajim.Gajim", "/org/gajim/Gajim", "org.gtk.Actions.Activate")
ACCOUNT = "ours"
# Where messages are typed.
INPUT = (690, 616)
SETTINGS = {"use_keyring": False}


class Gajim(Program):
    """Debian's."""

    name = "gajim"
    title = "Gajim"
    packages = ("gajim", *desktop.PACKAGES, *session_bus.PACKAGES)
    cannot = {
        "tls-1.2": "with TLS 1.2 its library leaves out the extended master secret (RFC 7627), and Comity lets nobody in without",
        "one-round-trip": "it does not know SASL2 as XEP-0388 has it now",
    }

    def __init__(self, place: Place, account: Account):
        super().__init__(place, account)
        self._desktop = Desktop(place)
        self._bus = SessionBus(place, USER)
        self._process: Process | None = None
        self._earlier = ""

    @classmethod
    def version(cls) -> str:
        return install.release("gajim")

    async def start(self) -> None:
        if not self.place.home.exists():
            self.place.home.mkdir()
            await run(["chown", f"{USER}:{USER}", str(self.place.home)])
        await self._desktop.start()
        await self._bus.start()
        if not self._file("settings.sqlite"):
            # It makes its files when it is started without an account.
            await self._run()
            await self._desktop.window("Gajim")
            await self._process.stop()
            self._configure()
        said = len(self.wire())
        await self._run()
        await self.has_on_wire("<presence", said)
        await self._desktop.window("Gajim")

    async def stop(self) -> None:
        await self._quit()

    async def kill(self) -> None:
        if self._process:
            await self._desktop.photograph(self.place.logs / "last-picture.png")
            await self._process.stop()
        await self._bus.stop()
        await self._desktop.stop()

    async def say(self, to: str, body: str) -> None:
        # Before the first message has come it would open a window for new conversations.
        await self._activate("open-chat", f"[<['{ACCOUNT}', '{to}']>]")
        await self._desktop.click(*INPUT)
        await self._desktop.type(body)

    async def block(self, jid: str) -> None:
        await self._activate(f"{ACCOUNT}-block-contact", f"[<'{jid}'>]")
        await self._desktop.window("Block Contact")
        await self._desktop.do("key", "alt+b")

    async def picture(self) -> str:
        history = self._file("logs.db")
        if not history:
            return ""
        with closing(sqlite3.connect(f"file:{history}?mode=ro", uri=True)) as database:
            return "\n".join(body or "" for (body,) in database.execute("select message from logs order by log_line_id"))

    def wire(self) -> str:
        return self._earlier + (self._process.text if self._process else "")

    def _file(self, name: str) -> Path | None:
        return next(self.place.home.rglob(name), None)

    def _configure(self) -> None:
        account = {"account_label": ACCOUNT, "name": self.account.local, "hostname": self.account.domain,
                   "password": self.account.password, "savepass": True, "active": True, "autoconnect": True}
        with closing(sqlite3.connect(self._file("settings.sqlite"))) as database:
            ((own,),) = database.execute("select settings from settings where name = 'app'")
            settings = json.dumps(json.loads(own) | SETTINGS)
            database.execute("update settings set settings = ? where name = 'app'", (settings,))
            database.execute("insert into account_settings (account, settings) values (?, ?)",
                             (ACCOUNT, json.dumps({"account": account, "contact": {}, "group_chat": {}})))
            database.commit()

    async def _run(self) -> None:
        home = {"HOME": str(self.place.home), "XDG_RUNTIME_DIR": str(self.place.home), "PYTHONPATH": ""}
        environment = home | self._desktop.environment | self._bus.environment | self.place.environment
        command = self.place.namespace.command(["gajim", "-v", "-s", "-c", str(self.place.home / "gajim")], USER)
        self._process = await Process.start("gajim", command, self.place.logs / "gajim.log", environment)

    async def _activate(self, action: str, parameter: str = "[]") -> None:
        await self._bus.call(*APPLICATION, action, parameter, "{}")

    async def _quit(self) -> None:
        await self._activate("quit")
        await self._process.end(PATIENCE)
        self._earlier += self._process.text
        self._process = None
