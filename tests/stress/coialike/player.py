# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Does to one server what a script says, and keeps all that the server answers."""

import re
import socket
import time
import zlib

from harness.server import PASSWORD

# What answers nothing in this time has swallowed the commands as part of something else.
SILENCE = 4
# Longer than Dovecot or the plugin wait before they tell of anything.
SETTLED = 1.6


class Closed(Exception):
    """The server has closed the connection."""


class Line:
    """A connection on which bytes are sent and lines are read."""

    def __init__(self, address):
        self.sock = socket.create_connection(address, 30)
        self.buffer = b""
        self.inflate = self.deflate = None

    def close(self):
        self.sock.close()

    def send(self, data):
        if self.deflate:
            data = self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        try:
            self.sock.sendall(data)
        except OSError:
            pass  # reading tells

    def more(self):
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            raise Closed
        self.buffer += self.inflate.decompress(data) if self.inflate else data

    def take(self, size):
        while len(self.buffer) < size:
            self.more()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def line(self):
        """With the literals in it."""
        data = b""
        while True:
            while b"\n" not in self.buffer:
                self.more()
            piece = self.take(self.buffer.index(b"\n") + 1)
            data += piece
            size = re.search(rb"\{(\d+)\}\r\n$", piece)
            if not size:
                return data
            data += self.take(int(size.group(1)))


def last_counts(lines):
    """Mails that come one after the other may be told one by one, or once."""
    left, told = [], set()
    for line in reversed(lines):
        count = re.fullmatch(rb"\* \d+ (EXISTS|RECENT)\r\n", line)
        if not count or count.group(1) not in told:
            left.insert(0, line)
        if count:
            told.add(count.group(1))
    return left


class ImapLine(Line):
    def __init__(self, server, user):
        super().__init__(server.imap_address)
        self.count = 0
        self.line()
        self.send(f'l LOGIN "{user}" "{PASSWORD}"\r\n'.encode())
        self.greeting = [self.line()]
        while not self.greeting[-1].startswith(b"l "):
            self.greeting.append(self.line())

    def until(self, tag, seen, go_on=False):
        """Reads until the answer with the tag; or, with go_on, until more is asked for."""
        self.sock.settimeout(SILENCE)
        try:
            while True:
                seen.append(self.line())
                if seen[-1].startswith(tag + b" "):
                    return False
                if go_on and seen[-1].startswith(b"+"):
                    return True
        except TimeoutError:
            seen.append(b"SILENCE")
            raise Closed from None

    def say(self, parts, seen):
        """One command, of parts that are bytes, or None where we are to be asked for more."""
        self.count += 1
        tag = b"t%d" % self.count
        data = tag + b" "
        for part in parts:
            if part is None:
                self.send(data)
                data = b""
                if not self.until(tag, seen, go_on=True):
                    return
            else:
                data += part
        self.send(data + b"\r\n")
        self.until(tag, seen)

    def compress(self, seen):
        self.say([b"COMPRESS DEFLATE"], seen)
        if b"OK" in seen[-1]:
            self.deflate = zlib.compressobj(wbits=-15)
            self.inflate = zlib.decompressobj(-15)


class Player:
    def __init__(self, server, name):
        self.server = server
        self.words = {
            "a": f"{name}a",
            "b": f"{name}b",
            "s": server.separator,
            "p": server.prefix,
            "copy": f"maildir:{server.home(name + 'a')}/copy",
        }
        self.sessions = {}

    def fill(self, text):
        """With the names of this server in it."""
        return re.sub(r"\{([a-z]+)\}", lambda found: self.words[found.group(1)], text)

    def bytes(self, part):
        return self.fill(part).encode() if isinstance(part, str) else part

    def play(self, steps):
        """What was seen of each step."""
        seen = [self.do(step) for step in steps]
        for session in list(self.sessions):
            self.do(("drop", session))
        return seen

    def do(self, step):
        name, *args = step
        seen = []
        getattr(self, "do_" + name.replace("-", "_"))(seen, *args)
        return seen

    # -- IMAP --

    def session(self, number, seen):
        if number not in self.sessions:
            self.sessions[number] = ImapLine(self.server, self.words["a"])
            seen += self.sessions[number].greeting
        return self.sessions[number]

    def in_session(self, number, seen, what):
        try:
            return what(self.session(number, seen))
        except Closed:
            seen.append(b"CLOSED")
            self.sessions.pop(number).close()
            return None

    def do_open(self, seen, number, qresync):
        def enable(line):
            if qresync:
                line.say([b"ENABLE QRESYNC"], seen)

        self.do_drop(seen, number)
        self.in_session(number, seen, enable)

    def do_drop(self, seen, number):
        if number in self.sessions:
            line = self.sessions.pop(number)
            # Answered means that nothing is left to do.
            try:
                line.send(b"d LOGOUT\r\n")
                while True:
                    line.more()
            except (Closed, TimeoutError):
                line.close()

    def do_imap(self, seen, number, parts):
        parts = [None if part is None else self.bytes(part) for part in parts]
        self.in_session(number, seen, lambda line: line.say(parts, seen))

    def do_compress(self, seen, number):
        def compress(line):
            if not line.deflate:
                line.compress(seen)

        self.in_session(number, seen, compress)

    def do_raw(self, seen, number, text):
        def say(line):
            line.send(text + b"\r\nr NOOP\r\n")
            line.until(b"r", seen)

        self.in_session(number, seen, say)

    def do_pipeline(self, seen, number, commands, cuts):
        data = b""
        for position, parts in enumerate(commands):
            data += b"p%d " % position + b"".join(self.bytes(part) for part in parts) + b"\r\n"
        last = b"p%d" % (len(commands) - 1)
        places = [0, *(int(cut * len(data)) for cut in cuts), len(data)]

        def say(line):
            for start, end in zip(places, places[1:]):
                line.send(data[start:end])
            line.until(last, seen)
            # Some may end only after those behind them.
            line.say([b"NOOP"], seen)

        self.in_session(number, seen, say)

    def do_idle(self, seen, number, step):
        def idle(line):
            line.count += 1
            tag = b"t%d" % line.count
            line.send(tag + b" IDLE\r\n")
            if not line.until(tag, seen, go_on=True):
                return
            seen.extend(self.do(step))
            seen.extend(last_counts(self.settled(line)))
            line.send(b"DONE\r\n")
            line.until(tag, seen)

        self.in_session(number, seen, idle)

    def settled(self, line):
        """What comes unasked while nothing more happens."""
        seen = []
        end = time.monotonic() + SETTLED
        try:
            while (left := end - time.monotonic()) > 0:
                line.sock.settimeout(left)
                seen.append(line.line())
        except TimeoutError:
            pass
        return seen

    def do_notify(self, seen, number, command, steps):
        def notify(line):
            line.say([self.bytes(command)], seen)
            for step in steps:
                seen.extend(self.do(step))
                told = self.settled(line)
                line.say([b"NOOP"], told)
                # The selected folder is told with NOOP, if it isn't before.
                seen.extend(sorted(told))
            line.say([b"NOTIFY NONE"], seen)

        self.in_session(number, seen, notify)

    # -- delivery --

    def do_lmtp(self, seen, sender, params, recipients, how, letter):
        line = Line(self.server.lmtp_address)

        def reply():
            while True:
                seen.append(line.line())
                if seen[-1][3:4] != b"-":
                    return seen[-1]

        def say(text):
            line.send(text.encode() + b"\r\n")
            return reply()

        try:
            reply()
            say("LHLO localhost")
            say(f"MAIL FROM:<{sender}>{params}")
            count = sum(
                say(f"RCPT TO:<{self.fill(name)}>").startswith(b"250") for name in recipients
            )
            if how == "bdat":
                half = len(letter) // 2
                line.send(b"BDAT %d\r\n" % half + letter[:half])
                if reply().startswith(b"250"):
                    rest = letter[half:]
                    line.send(b"BDAT %d LAST\r\n" % len(rest) + rest)
                    for _ in range(max(count, 1)):
                        reply()
            elif say("DATA").startswith(b"354"):
                body = re.sub(rb"(?m)^\.", b"..", letter)
                line.send(body + (b"" if body.endswith(b"\r\n") else b"\r\n") + b".\r\n")
                for _ in range(count):
                    reply()
            say("QUIT")
        except (Closed, TimeoutError):
            seen.append(b"CLOSED")
        line.close()

    def do_lmtp_lines(self, seen, lines):
        line = Line(self.server.lmtp_address)
        line.sock.settimeout(SILENCE)
        line.send("".join(self.fill(text) + "\r\n" for text in [*lines, "QUIT"]).encode())
        try:
            while True:
                seen.append(line.line())
        except (Closed, TimeoutError) as ended:
            seen.append(type(ended).__name__.encode())
        line.close()

    def do_lda(self, seen, options, letter):
        options = [self.fill(option) for option in options]
        done = self.server.lda(self.words["a"], letter, *options)
        seen += [b"%d" % done.returncode, done.stdout, done.stderr]

    # -- others --

    def do_pop3(self, seen, lines):
        line = Line(self.server.pop3_address)
        line.sock.settimeout(SILENCE)
        try:
            for text in [None, f"USER {self.words['a']}", f"PASS {PASSWORD}", *lines]:
                if text:
                    line.send(text.encode() + b"\r\n")
                seen.append(line.line())
                word = (text or "").split(" ")[0]
                many = word in ("CAPA", "RETR", "TOP") or text in ("LIST", "UIDL")
                while many and seen[-1] != b".\r\n" and not seen[-1].startswith(b"-ERR"):
                    seen.append(line.line())
        except (Closed, TimeoutError) as ended:
            seen.append(type(ended).__name__.encode())
        line.close()

    def do_doveadm(self, seen, words, text):
        done = self.server.run("doveadm", *(self.fill(word) for word in words), input=text)
        # a dict lists its entries in an order of its own
        order = sorted if "metadata" in words else list
        lines = order(done.stdout.splitlines(True))
        seen += [b"%d" % done.returncode, *lines, done.stderr]
