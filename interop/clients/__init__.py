"""Real clients against Comity: a matrix of programs and of what they are asked to do."""

from clients.libstrophe import Libstrophe
from clients.program import Program
from clients.slixmpp import DebiansSlixmpp, Slixmpp
from clients.xmpp_js import XmppClient

CLIENTS: dict[str, type[Program]] = {
    client.name: client for client in (Libstrophe, Slixmpp, DebiansSlixmpp, XmppClient)
}
