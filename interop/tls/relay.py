"""A relay that says `<starttls/>` on a stream of servers and then only carries bytes.

testssl.sh as Debian has it knows the streams of clients, not those of servers. Behind this relay it sees the TLS of a
listener for servers as if it began with the first byte.
"""

import asyncio
import contextlib

from tls.server import DOMAIN, Endpoint

HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' "
    f"to='{DOMAIN}' version='1.0'>"
)
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"


async def serve(endpoint: Endpoint) -> asyncio.Server:
    """Relays to a listener; the port is that of the first socket."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
            far_writer.write(HEADER.encode())
            await far_reader.readuntil(b"</stream:features>")
            far_writer.write(STARTTLS.encode())
            await far_reader.readuntil(b"/>")
            await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))

    return await asyncio.start_server(relay, "127.0.0.1", 0)


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carries bytes one way, and then the end."""
    with contextlib.suppress(ConnectionError):
        while some := await reader.read(1 << 16):
            writer.write(some)
            await writer.drain()
    writer.close()
