"""Makes a server look as if it knew one mechanism only: narrow.py ADDRESS DOMAIN CHAIN KEY.

It ends the TLS of the clients that come to port 5222 of ADDRESS and passes their streams on to the server's listener
without TLS on 127.0.0.1, with every other mechanism taken out of the first list of features. So nobody can bind to the
channel, and what a client does about that is part of the test. `only MECHANISM` on standard input says which one is left,
and is confirmed by the same line on standard output.
"""

import asyncio
import re
import ssl
import sys

PORT = 5222
END_OF_FEATURES = b"</stream:features>"
HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
    "id='narrow' from='{domain}' version='1.0'><stream:features>"
    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
)
PROCEED = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
STARTTLS = re.compile(rb"<starttls[^>]*/>|<starttls[^>]*>.*?</starttls>")
MECHANISM = re.compile(rb"<mechanism>([^<]*)</mechanism>")


class Narrow:
    """What all connections share."""

    def __init__(self, domain: str, tls: ssl.SSLContext):
        self._domain = domain
        self._tls = tls
        self._left = b""

    def obey(self, order: str) -> None:
        """Carries out one order."""
        self._left = order.removeprefix("only ").encode()
        print(order, flush=True)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one client to the end."""
        try:
            await reader.readuntil(b"<stream:stream")
            await reader.readuntil(b">")
            writer.write(HEADER.format(domain=self._domain).encode())
            await reader.readuntil(b"starttls")
            await reader.readuntil(b">")
            writer.write(PROCEED)
            await writer.drain()
            await writer.start_tls(self._tls)
            # Some clients end their request for TLS with a new line.
            await reader.readuntil(b"<")
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", PORT)
            far_writer.write(b"<")
            await asyncio.gather(pump(reader, far_writer), self._back(far_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        offer = STARTTLS.sub(b"", await reader.readuntil(END_OF_FEATURES))
        writer.write(MECHANISM.sub(lambda found: found[0] if found[1] == self._left else b"", offer))
        await pump(reader, writer)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes on what one side sends, and that it has ended."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def main(address: str, domain: str, chain: str, key: str) -> None:
    """Serves until the orders end."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain, key)
    narrow = Narrow(domain, tls)
    await asyncio.start_server(narrow.accept, address, PORT)
    print("ready", flush=True)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        narrow.obey(line.decode().strip())


asyncio.run(main(*sys.argv[1:]))
