"""A relay that makes a server look plaintext-only: it removes the STARTTLS feature from what the server says.

Arguments: address and port to listen on, port of the server on loopback. Runs by itself inside a namespace.
"""

import asyncio
import re
import sys

FEATURE = re.compile(rb"<starttls\b[^>]*/>|<starttls\b.*?</starttls\s*>", re.DOTALL)
# What may be the beginning of the feature and must wait for the rest.
UNFINISHED = re.compile(rb"<starttls\b(?:(?!</starttls).)*\Z|<s?t?a?r?t?t?l?s?\Z", re.DOTALL)


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, strip: bool) -> None:
    """Copies one direction to its end."""
    held = b""
    try:
        while data := await reader.read(65536):
            held += data
            if not strip:
                if b"<message" in held:
                    print("a message came in plain text", flush=True)
                ready, held = held, b""
            else:
                held = FEATURE.sub(b"", held)
                rest = UNFINISHED.search(held)
                cut = rest.start() if rest else len(held)
                ready, held = held[:cut], held[cut:]
            writer.write(ready)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


async def main() -> None:
    """Serves until it is ended."""
    address, port, behind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", behind)
        except OSError:
            writer.close()
            return
        await asyncio.gather(relay(reader, inner_writer, False), relay(inner_reader, writer, True))

    server = await asyncio.start_server(accept, address, port)
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
