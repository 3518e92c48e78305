"""Stands between the clients and the server, so that a case can cut their connections: relay.py ADDRESS SERVER PORT...

Clients come from ADDRESS itself; what comes from elsewhere belongs to the case and is never cut. Orders come as lines on
standard input and are confirmed by the same line on standard output: `cut` resets every connection of a client and lets
no further one in, `open` lets them in again. For every connection of a client in which the server's certificate can be
read by everybody it prints `TLS 1.2`: later versions encrypt it.
"""

import asyncio
import socket
import struct
import sys

# The name of the authority, as it stands in certificates.
ISSUER = b"interop test authority"
# The handshake is over long before that many bytes.
HANDSHAKE = 1 << 15
# A closed socket with this option says nothing but RST, as a machine does that knows nothing of the connection.
RESET = struct.pack("ii", 1, 0)


class Relay:
    """The connections that go through."""

    def __init__(self, address: str, server: str):
        self._address = address
        self._server = server
        self._passing: set[asyncio.StreamWriter] = set()
        self._open = True

    async def listen(self, port: int) -> None:
        """Takes connections on this port and makes them to the same port of the server."""

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._accept(port, reader, writer)

        await asyncio.start_server(accept, self._address, port)

    def obey(self, order: str) -> None:
        """Carries out one order."""
        self._open = order == "open"
        if order == "cut":
            for writer in self._passing:
                reset(writer)
        print(order, flush=True)

    async def _accept(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_client = writer.get_extra_info("peername")[0] == self._address
        if is_client and not self._open:
            return reset(writer)
        far_reader, far_writer = await asyncio.open_connection(self._server, port)
        both = {writer, far_writer}
        if is_client:
            self._passing |= both
        try:
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer, is_client))
        except OSError:
            pass
        finally:
            self._passing -= both
            for end in both:
                end.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_looked_at: bool = False) -> None:
    """Passes on what one side sends, and that it has ended."""
    seen = b""
    while data := await reader.read(1 << 16):
        if is_looked_at and len(seen) < HANDSHAKE and ISSUER not in seen:
            seen += data
            if ISSUER in seen:
                print("TLS 1.2", flush=True)
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection without a word."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


async def main(address: str, server: str, *ports: str) -> None:
    """Relays until the orders end."""
    relay = Relay(address, server)
    for port in ports:
        await relay.listen(int(port))
    print("ready", flush=True)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        relay.obey(line.decode().strip())


asyncio.run(main(*sys.argv[1:]))
