"""Real clients against Comity: a matrix of programs and of what they are asked to do."""

from clients.dino import Dino
from clients.finch import Finch
from clients.gajim import Gajim
from clients.go_sendxmpp import GoSendxmpp
from clients.libstrophe import Libstrophe
from clients.profanity import Profanity
from clients.program import Program
from clients.slixmpp import DebiansSlixmpp, Slixmpp
from clients.xmpp_js import XmppClient

CLIENTS: dict[str, type[Program]] = {
    client.name: client for client in (Dino, Gajim, Profanity, Finch, GoSendxmpp, Libstrophe, Slixmpp, DebiansSlixmpp, XmppClient)
}
