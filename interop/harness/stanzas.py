"""What cases wait for, in the words of RFC 6121."""

from xml.etree import ElementTree

from harness.clients import Expected

CLIENT = "{jabber:client}"
ROSTER = "{jabber:iq:roster}"
STANZA_ERRORS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
DELAY = "{urn:xmpp:delay}delay"


def bare(jid: str | None) -> str:
    """The bare JID of an address."""
    return (jid or "").split("/")[0]


def message(sender: str, body: str) -> Expected:
    """A message that is no error, from an account, with exactly this body."""
    return Expected(
        f"the message {body!r} from {sender}",
        lambda stanza: stanza.tag == f"{CLIENT}message" and stanza.get("type") != "error"
        and bare(stanza.get("from")) == sender and stanza.findtext(f"{CLIENT}body") == body,
    )


def presence(sender: str, kind: str | None = None, show: str | None = None) -> Expected:
    """Presence from an account; `kind` is the type attribute, which available presence lacks."""
    return Expected(
        f"{kind or 'available'} presence from {sender}" + (f" with show {show}" if show else ""),
        lambda stanza: stanza.tag == f"{CLIENT}presence" and bare(stanza.get("from")) == sender
        and stanza.get("type") == kind and (show is None or stanza.findtext(f"{CLIENT}show") == show),
    )


def gone(resource: str) -> Expected:
    """Presence that says of a resource, or of its account as a whole, that it is not available."""
    return Expected(
        f"unavailable presence from {resource}",
        lambda stanza: stanza.tag == f"{CLIENT}presence" and stanza.get("type") == "unavailable"
        and stanza.get("from") in (resource, bare(resource)),
    )


def roster_push(contact: str, subscription: str) -> Expected:
    """A roster push that shows a contact in this state."""

    def test(stanza: ElementTree.Element) -> bool:
        return stanza.tag == f"{CLIENT}iq" and stanza.get("type") == "set" and any(
            item.get("jid") == contact and item.get("subscription") == subscription
            for item in stanza.iter(f"{ROSTER}item")
        )

    return Expected(f"a roster push with {contact} as {subscription!r}", test)


def error(sender: str, kind: str = "message") -> Expected:
    """An error stanza that comes back from the address that was written to."""
    return Expected(
        f"a {kind} error from {sender}",
        lambda stanza: stanza.tag == f"{CLIENT}{kind}" and stanza.get("type") == "error"
        and bare(stanza.get("from")) == sender,
    )


def condition(stanza: ElementTree.Element) -> str:
    """The defined condition of an error stanza."""
    for child in stanza.iterfind(f"{CLIENT}error/*"):
        if child.tag.startswith(STANZA_ERRORS) and not child.tag.endswith("}text"):
            return child.tag.removeprefix(STANZA_ERRORS)
    return "none"
