"""@xmpp/client, the library of JavaScript; it knows SASL2, Bind 2 and tokens."""

import shutil
from pathlib import Path

from suites.xmpp_js import XmppJs

from clients.program import Player

PLAYER = Path(__file__).parent / "players" / "xmpp_player.mjs"
ONLY_SHA1 = "of SCRAM it knows SHA-1 only"


class XmppClient(Player):
    """A small program around the library."""

    name = "xmpp-js"
    title = "@xmpp/client"
    programs = XmppJs.programs
    cannot = {"scram-sha-512": ONLY_SHA1, "scram-sha-256": ONLY_SHA1}
    without_tls13 = staticmethod(lambda _folder: {"NODE_OPTIONS": "--tls-max-v1.2"})
    _script = Path()

    @classmethod
    def prepare(cls, cache: Path) -> None:
        XmppJs().prepare(cache)
        # Node looks for libraries beside the script.
        cls._script = cache / XmppJs.name / PLAYER.name
        shutil.copyfile(PLAYER, cls._script)

    @classmethod
    def version(cls) -> str:
        return XmppJs.title.rpartition(" ")[2]

    def command(self) -> list[str]:
        environment = f"NODE_EXTRA_CA_CERTS={self.place.root}"
        state = str(self.place.home / "state.json")
        return ["env", environment, "node", str(self._script), self.account.bare, self.account.password, state]
