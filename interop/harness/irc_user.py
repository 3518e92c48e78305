"""Somebody on IRC (RFC 2812): joins a channel, prints what is said and who goes, and answers what is asked.

Usage: irc_user.py HOST PORT NICK CHANNEL. Whoever says `ask WORDS` gets the answer `heard WORDS`.
"""

import socket
import sys


def main(host: str, port: str, nick: str, channel: str) -> None:
    """Stays until the server closes the connection."""
    with socket.create_connection((host, int(port))) as connection:
        lines = connection.makefile("r", encoding="utf-8", newline="\r\n")

        def send(line: str) -> None:
            connection.sendall(f"{line}\r\n".encode())

        send(f"NICK {nick}")
        send(f"USER {nick} 0 * :{nick}")
        for line in lines:
            prefix, _, rest = line.strip().partition(" ") if line.startswith(":") else ("", "", line.strip())
            command, _, parameters = rest.partition(" ")
            who = prefix[1:].partition("!")[0]
            text = parameters.partition(" :")[2]
            if command == "PING":
                send(f"PONG {parameters}")
            elif command == "001":
                send(f"JOIN {channel}")
            elif command == "366":
                print("joined", flush=True)
            elif command == "PRIVMSG":
                print(f"{who} says {text}", flush=True)
                if text.startswith("ask "):
                    send(f"PRIVMSG {channel} :heard {text.removeprefix('ask ')}")
            elif command in ("QUIT", "PART"):
                print(f"{who} leaves", flush=True)


main(*sys.argv[1:])
