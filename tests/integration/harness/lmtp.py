# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A small LMTP client: one reply for each recipient."""

import socket


class Lmtp:
    def __init__(self, address, timeout=60):
        self.sock = socket.create_connection(address, timeout)
        self.stream = self.sock.makefile("rb")
        assert self.reply().startswith("220")
        assert self.command("LHLO localhost").startswith("250")

    def close(self):
        self.stream.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def reply(self):
        """One reply, of one line or more."""
        lines = []
        while True:
            line = self.stream.readline().decode()
            assert line.endswith("\r\n"), f"the server closed the connection after {lines!r}"
            lines.append(line[:-2])
            if line[3:4] != "-":
                return "\n".join(lines)

    def command(self, line):
        self.sock.sendall(line.encode() + b"\r\n")
        return self.reply()

    def deliver(self, recipients, mail, sender="sender@example.org"):
        """Delivers one mail. Returns a reply for each recipient, in their order."""
        assert self.command(f"MAIL FROM:<{sender}>").startswith("250")
        replies = [self.command(f"RCPT TO:<{name}>") for name in recipients]
        accepted = [number for number, reply in enumerate(replies) if reply.startswith("250")]
        if not accepted:
            self.command("RSET")
            return replies
        assert self.command("DATA").startswith("354")
        data = b"\r\n".join(mail.replace(b"\r\n", b"\n").split(b"\n"))
        data = data.replace(b"\r\n.", b"\r\n..")
        self.sock.sendall(data + b"\r\n.\r\n")
        for number in accepted:
            replies[number] = self.reply()
        return replies
