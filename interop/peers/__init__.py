"""One file per make of server: its configuration, its start and its accounts."""

from peers.comity import Comity
from peers.ejabberd import Ejabberd
from peers.jabberd2 import Jabberd2
from peers.prosody import Prosody

PEERS = {peer.kind: peer for peer in (Comity, Prosody, Ejabberd, Jabberd2)}
