"""Dino on a screen. It is driven as by hand; what it shows is read from its database, where it keeps what it shows."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from harness import install
from harness.process import Process

from clients import on_screen
from clients.on_screen import OnScreen
from clients.program import PATIENCE

# Where the first conversation is in the list, and where messages are typed.
FIRST, INPUT = (150, 80), (600, 615)
# Where its buttons are: the menu of a conversation, and in the window that it opens the last switch and the cross.
DETAILS, BLOCK, CLOSE = (858, 28), (539, 413), (657, 28)
# It spells out the namespace of every name.
NAMESPACE = re.compile(r"\{[^{}]*\}:")
SHOWN = """
select message.body from message
join content_item on content_item.foreign_id = message.id and content_item.content_type = 1
where content_item.hide = 0 order by message.id
"""


class Dino(OnScreen):
    """Debian's."""

    name = "dino"
    title = "Dino"
    packages = ("dino-im", *on_screen.PACKAGES)
    cannot = {
        "tls-1.2": "with TLS 1.2 its library leaves out the extended master secret (RFC 7627), and Comity lets nobody in without",
        "scram-sha-512": "of SCRAM it knows SHA-1 only",
        "scram-sha-256": "of SCRAM it knows SHA-1 only",
        "one-round-trip": "it does not know SASL2",
    }
    address = ("im.dino.Dino", "/im/dino/Dino")

    @classmethod
    def version(cls) -> str:
        return install.release("dino-im")

    def command(self) -> list[str]:
        return ["dino-im", "--print-xmpp=all"]

    async def set_up(self) -> None:
        # It makes its tables when it is started without an account.
        await self._run()
        await self.eventually(lambda seen: seen == "yes", self._has_tables, "make its tables")
        await self._desktop.window(self.title)
        await self.stop()
        with closing(sqlite3.connect(self._database)) as database:
            database.execute(
                "insert into account (bare_jid, resourcepart, password, alias, enabled) values (?, 'dino', ?, '', 1)",
                (self.account.bare, self.account.password),
            )
            database.commit()

    async def look_into(self, jid: str) -> None:
        # A second start hands the address to the program that runs.
        command = self.place.namespace.command(["dino-im", f"xmpp:{jid}?message"])
        opener = await Process.start("opener", command, self.place.logs / "opener.log", self._environment)
        await opener.end(PATIENCE)

    async def say(self, to: str, body: str) -> None:
        await self.look_into(to)
        await self._desktop.type(body)

    async def enter(self, room: str, nick: str) -> None:
        # A bookmark has brought it in.
        await self.has_on_wire(f"<presence[^>]*{re.escape(room)}/{nick}")

    async def speak(self, room: str, body: str) -> None:
        # Where something was said last stands first.
        await self._desktop.click(*FIRST)
        await self._desktop.click(*INPUT)
        await self._desktop.type(body)

    async def block(self, jid: str) -> None:
        await self.look_into(jid)
        await self._desktop.click(*DETAILS)
        await self._desktop.do("search", "--sync", "--onlyvisible", "--name", "Contact Details")
        await self._desktop.click(*BLOCK)
        await self.has_on_wire("<block\\s")
        await self._desktop.click(*CLOSE)
        await self._desktop.window(self.title)

    async def picture(self) -> str:
        if not self._database.exists():
            return ""
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as database:
            return "\n".join(body or "" for (body,) in database.execute(SHOWN))

    def wire(self) -> str:
        return NAMESPACE.sub("", super().wire())

    @property
    def _database(self) -> Path:
        return self.place.home / ".local" / "share" / "dino" / "dino.db"

    async def _has_tables(self) -> str:
        if not self._database.exists():
            return "no"
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as database:
            names = {name for (name,) in database.execute("select name from sqlite_master")}
        return "yes" if {"account", "message", "content_item", "roster", "conversation"} <= names else "no"
