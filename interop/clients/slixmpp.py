"""slixmpp, the library of Python: the version of today, and the one that Debian has."""

from pathlib import Path

from harness import install

from clients.program import Player, on_openssl

PLAYER = Path(__file__).parent / "players" / "slixmpp_player.py"
NO_TOKENS = "it does not know SASL2"


class Slixmpp(Player):
    """The newest release."""

    name = "slixmpp"
    title = "slixmpp"
    cannot = {"one-round-trip": NO_TOKENS}
    without_tls13 = staticmethod(on_openssl)
    _python = Path()

    @classmethod
    def prepare(cls, cache: Path) -> None:
        cls._python = install.slixmpp(cache)

    @classmethod
    def version(cls) -> str:
        return install.SLIXMPP.partition("==")[2]

    def command(self) -> list[str]:
        return [str(self._python), str(PLAYER), self.account.bare, self.account.password]


class DebiansSlixmpp(Slixmpp):
    """An older one. It binds to the channel by `tls-unique`, whatever the version of TLS."""

    name = "slixmpp-debian"
    title = "slixmpp of Debian"
    packages = ("python3-slixmpp",)

    @classmethod
    def prepare(cls, cache: Path) -> None:
        cls._python = Path("/usr/bin/python3")

    @classmethod
    def version(cls) -> str:
        return install.release("python3-slixmpp")
