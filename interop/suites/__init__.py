"""Other people's test suites, played against one server at a time."""

from suites.interop_testing import InteropTesting
from suites.slixmpp import Slixmpp
from suites.smack import Smack
from suites.suite import Suite
from suites.xmpp_js import XmppJs

SUITES: dict[str, type[Suite]] = {suite.name: suite for suite in (Smack, InteropTesting, Slixmpp, XmppJs)}
