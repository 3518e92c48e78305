"""A relay that makes a server look plaintext-only: it removes the STARTTLS feature and refuses to begin TLS.

Arguments: address and port to listen on, port of the server on loopback. Runs by itself inside a namespace.
"""

import asyncio
import re
import sys

FEATURE = re.compile(rb"<starttls\b[^>]*/>|<starttls\b.*?</starttls\s*>", re.DOTALL)
# What may be the beginning of the element and must wait for the rest.
UNFINISHED = re.compile(rb"<starttls\b(?:(?!</starttls).)*\Z|<s?t?a?r?t?t?l?s?\Z", re.DOTALL)
REFUSAL = b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"


def complete(held: bytes) -> tuple[bytes, bytes]:
    """Splits off an end that may be an unfinished <starttls/>."""
    rest = UNFINISHED.search(held)
    cut = rest.start() if rest else len(held)
    return held[:cut], held[cut:]


async def answers(server: asyncio.StreamReader, peer: asyncio.StreamWriter) -> None:
    """What the server says, without the feature."""
    held = b""
    while data := await server.read(65536):
        ready, held = complete(FEATURE.sub(b"", held + data))
        peer.write(ready)
        await peer.drain()
    peer.close()


async def questions(peer: asyncio.StreamReader, server: asyncio.StreamWriter, back: asyncio.StreamWriter) -> None:
    """What the peer says; it may try STARTTLS although nobody offered it (RFC 6120 section 5.4.2.2 has the refusal)."""
    held = b""
    while data := await peer.read(65536):
        held += data
        if b"<message" in held:
            print("a message came in plain text", flush=True)
        if FEATURE.search(held):
            print("refused to begin TLS", flush=True)
            back.write(REFUSAL)
            back.close()
            break
        ready, held = complete(held)
        server.write(ready)
        await server.drain()
    server.close()


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, until either side ends it."""
    try:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[3]))
        await asyncio.gather(questions(reader, inner_writer, writer), answers(inner_reader, writer))
    except OSError:
        writer.close()


async def main() -> None:
    """Serves until it is ended."""
    server = await asyncio.start_server(accept, sys.argv[1], int(sys.argv[2]))
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
