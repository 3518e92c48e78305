"""libstrophe, the library of C."""

from pathlib import Path

from harness import install

from clients.program import Player, on_openssl

PLAYER = Path(__file__).parent / "players" / "strophe_player.c"


class Libstrophe(Player):
    """A small program around the library."""

    name = "libstrophe"
    title = "libstrophe"
    packages = ("libstrophe-dev", "gcc", "libc6-dev")
    cannot = {"one-round-trip": "it does not know SASL2"}
    without_tls13 = staticmethod(on_openssl)
    _binary = Path()

    @classmethod
    def prepare(cls, cache: Path) -> None:
        cls._binary = cache / "strophe_player"
        install.run(["cc", "-Wall", "-Wextra", "-Werror", "-O1", "-o", str(cls._binary), str(PLAYER), "-lstrophe"])

    @classmethod
    def version(cls) -> str:
        return install.release("libstrophe-dev")

    def command(self) -> list[str]:
        return [str(self._binary), self.account.bare, self.account.password]
