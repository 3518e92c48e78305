"""Gajim on a screen, driven by keys and by what its menus do on D-Bus; what it shows is read from its history."""

import asyncio
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from harness import install

from clients import on_screen
from clients.on_screen import OnScreen
from clients.program import GLANCE

ACCOUNT = "ours"
# Where messages are typed.
INPUT = (690, 616)
SETTINGS = {"use_keyring": False}
UNREAD = "Unread Messages"


class Gajim(OnScreen):
    """Debian's."""

    name = "gajim"
    title = "Gajim"
    packages = ("gajim", *on_screen.PACKAGES)
    cannot = {
        "tls-1.2": "with TLS 1.2 its library leaves out the extended master secret (RFC 7627), and Comity lets nobody in without",
        "one-round-trip": "it does not know SASL2 as XEP-0388 has it now",
    }
    address = ("org.gajim.Gajim", "/org/gajim/Gajim")
    # This one of Debian's has nothing to lose.
    user = "games"

    @classmethod
    def version(cls) -> str:
        return install.release("gajim")

    def command(self) -> list[str]:
        return ["gajim", "-v", "-s", "-c", str(self.place.home / "gajim")]

    async def set_up(self) -> None:
        # It makes its files when it is started without an account.
        await self._run()
        await self._desktop.window(self.title)
        await self._process.stop()
        self._ended()
        self._configure()

    async def stop(self) -> None:
        leaving = asyncio.create_task(super().stop())
        while not leaving.done():
            # It asks once more where something is unread: a server of IRC has much to say.
            await self._desktop.press_in(UNREAD, "alt+q")
            await asyncio.sleep(GLANCE)
        await leaving

    async def say(self, to: str, body: str) -> None:
        # Before the first message has come it would open a window for new conversations.
        await self._activate("open-chat", f"[<['{ACCOUNT}', '{to}']>]")
        await self._desktop.click(*INPUT)
        await self._desktop.type(body)

    async def enter(self, room: str, nick: str) -> None:
        # A bookmark has brought it in.
        await self.has_on_wire(f"<presence[^>]*{re.escape(room)}/{nick}")
        window = (self.address[0], f"{self.address[1]}/window/1")
        await self._bus.call(*window, "org.gtk.Actions.Activate", "add-group-chat",
                             f"[<['{ACCOUNT}', '{room}', 'select']>]", "{}")

    async def speak(self, room: str, body: str) -> None:
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
