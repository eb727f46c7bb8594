# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A small IMAP client that says exactly what it is told to, byte for byte."""

import os
import re
import socket

# How long an answer may take. None is ever that slow; a server that hangs is.
TIMEOUT = float(os.environ.get("COI_TEST_TIMEOUT", "30"))
# For what would be told never, by the next mail, or by Dovecot's look after half a minute.
SOON = 15


class Literal:
    """A string sent as a synchronising literal; binary ones as literal8 (RFC 3516)."""

    def __init__(self, data, binary=False):
        self.data = data.encode() if isinstance(data, str) else data
        self.binary = binary


# What Dovecot sets by itself; 2.4.5 notes in sdbox and mdbox whether there are attachments.
SERVERS_FLAGS = {"\\Recent", "$HasAttachment", "$HasNoAttachment"}


class Response:
    def __init__(self, tagged, untagged):
        status, _, text = tagged.partition(b" ")
        self.status = status.decode()
        self.text = text.decode("utf-8", "replace")
        self.untagged = untagged

    @property
    def ok(self):
        return self.status == "OK"

    @property
    def reason(self):
        """The text without how long it took, which Dovecot adds."""
        return re.sub(r" \([\d.+ ]+ secs\)\.$", "", self.text)

    def lines(self, word):
        """Untagged lines in which the word stands first, or behind a number."""
        pattern = re.compile(rb"\* (\d+ )?" + word.encode() + rb"\b", re.I)
        return [line for line in self.untagged if pattern.match(line)]

    def __repr__(self):
        return f"{self.status} {self.text} {self.untagged!r}"


class ImapError(AssertionError):
    pass


def quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def value(given):
    """A metadata value for a command: NIL, a quoted string, or a literal where it must be one.

    Where one entry of several is refused, stock Dovecot never asks for the literals behind it.
    """
    if given is None:
        return "NIL"
    if isinstance(given, str) and re.fullmatch(r"[\x20-\x7e]{0,1000}", given):
        return quote(given)
    return given if isinstance(given, Literal) else Literal(given)


class Imap:
    def __init__(self, address, timeout=TIMEOUT):
        self.sock = socket.create_connection(address, timeout)
        self.stream = self.sock.makefile("rb")
        self.count = 0
        self.early = []
        self.greeting = self.read_line()

    def close(self):
        self.stream.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def read_line(self):
        """One response line; the literals in it stay in place, behind their {size}."""
        line = b""
        while True:
            piece = self.stream.readline()
            if not piece.endswith(b"\r\n"):
                raise ImapError(f"the server closed the connection after {line + piece!r}")
            line += piece
            size = re.search(rb"\{(\d+)\}\r\n$", piece)
            if not size:
                return line[:-2]
            line += self.stream.read(int(size.group(1)))

    def send(self, *parts):
        """Sends one command, in pieces where it has literals. Returns its tag.

        What comes before the server asks for a literal, or instead, is left to finish().
        """
        self.count += 1
        tag = b"t%d" % self.count
        out = tag + b" "
        for part in parts:
            if isinstance(part, Literal):
                out += b"%s{%d}\r\n" % (b"~" if part.binary else b"", len(part.data))
                self.sock.sendall(out)
                if not self.is_to_go_on(tag):
                    return tag
                out = part.data
            else:
                out += part if isinstance(part, bytes) else part.encode()
        self.sock.sendall(out + b"\r\n")
        return tag

    def is_to_go_on(self, tag):
        """Whether the server asks for more of this command, and does not end it here."""
        while True:
            line = self.read_line()
            if line.startswith(b"+"):
                return True
            self.early.append(line)
            if line.startswith(tag + b" "):
                return False

    def next_line(self):
        return self.early.pop(0) if self.early else self.read_line()

    def finish(self, tag):
        untagged = []
        while True:
            line = self.next_line()
            if line.startswith(tag + b" "):
                return Response(line[len(tag) + 1 :], untagged)
            untagged.append(line)

    def command(self, *parts):
        return self.finish(self.send(*parts))

    def must(self, *parts):
        """A command that is expected to succeed."""
        response = self.command(*parts)
        if not response.ok:
            raise ImapError(f"{parts!r}: {response!r}")
        return response

    # -- what the tests say most often --

    def login(self, user, password):
        return self.must(f"LOGIN {quote(user)} {quote(password)}")

    def capabilities(self):
        (line,) = self.must("CAPABILITY").lines("CAPABILITY")
        # What has two blanks in a row has an empty word.
        return line.decode().split(" ")[2:]

    def folders(self, command="LIST"):
        """Folder names as LIST (or LSUB) tells them, sorted; those that exist only."""
        names = []
        for line in self.must(f'{command} "" "*"').lines(command):
            match = re.match(rb'\* \w+ \(([^)]*)\) (?:"[^"]*"|NIL) (.*)$', line)
            flags = match.group(1).lower().split()
            if b"\\nonexistent" not in flags and b"\\noselect" not in flags:
                names.append(match.group(2).decode().strip('"'))
        return sorted(names)

    def exists(self, folder):
        """Number of mails in a folder, which is opened for it."""
        (line,) = self.must(f"SELECT {quote(folder)}").lines("EXISTS")
        return int(line.split()[1])

    def mails(self, folder):
        """List of {uid, flags, subject} of a folder, which is opened read-only for it."""
        self.must(f"EXAMINE {quote(folder)}")
        items = "UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])"
        return [Mail(line) for line in self.must(items).lines("FETCH")]

    def subjects(self, folder):
        return sorted(mail.subject for mail in self.mails(folder))

    def store(self, sequence, item, flags, uid=False):
        return self.must(f"{'UID ' if uid else ''}STORE {sequence} {item} ({flags})")

    def setmetadata(self, entries, mailbox=""):
        """entries: name to a value (see value()). Returns the whole response."""
        parts = [f"SETMETADATA {quote(mailbox)} ("]
        for position, (name, given) in enumerate(entries.items()):
            parts += [f"{' ' if position else ''}{name} ", value(given)]
        return self.command(*parts, ")")

    def getmetadata(self, *names, depth=None, mailbox=""):
        """Name to bytes, or to None for NIL, of all entries that were answered."""
        options = f"(DEPTH {depth}) " if depth else ""
        response = self.must(f"GETMETADATA {options}{quote(mailbox)} ({' '.join(names)})")
        return metadata(response)

    # -- what the server says unasked --

    def read_until(self, text):
        """The lines up to and with the first that has the text in it."""
        lines = []
        while True:
            lines.append(self.read_line())
            if text.encode() in lines[-1]:
                return lines

    def is_told(self, text, seconds):
        """Whether a line that has the text in it comes within that time."""
        self.sock.settimeout(seconds)
        try:
            self.read_until(text)
            return True
        except TimeoutError:
            # One that has timed out can't be read any more.
            self.stream = self.sock.makefile("rb")
            return False

    def idle(self):
        """Starts IDLE, and returns once the server has said that it idles."""
        self.idle_tag = self.send("IDLE")
        if not self.is_to_go_on(self.idle_tag):
            raise ImapError(f"no IDLE: {self.finish(self.idle_tag)!r}")

    def idle_until(self, word):
        """The untagged lines up to and with the first that has the word."""
        lines = []
        while True:
            lines.append(self.next_line())
            if word.encode() in lines[-1].split():
                return lines

    def done(self):
        self.sock.sendall(b"DONE\r\n")
        return self.finish(self.idle_tag)


def await_soon(client, text):
    client.sock.settimeout(SOON)
    client.read_until(text)


class Mail:
    """One mail of a FETCH response."""

    def __init__(self, line):
        self.uid = int(re.search(rb"UID (\d+)", line).group(1))
        self.flags = set(re.search(rb"FLAGS \(([^)]*)\)", line).group(1).decode().split())
        self.flags -= SERVERS_FLAGS
        self.date = re.search(rb'INTERNALDATE "([^"]+)"', line).group(1).decode()
        subject = re.search(rb"^Subject: (.*?)\r?$", line, re.M | re.I)
        self.subject = subject.group(1).decode("utf-8", "replace") if subject else ""

    @property
    def is_chat(self):
        return "$Chat" in self.flags

    def __repr__(self):
        return f"<{self.uid} {self.subject!r} {sorted(self.flags)}>"


def metadata(response):
    """The entries that a response to GETMETADATA has, as getmetadata() returns them."""
    entries = {}
    for line in response.lines("METADATA"):
        rest = re.match(rb'\* METADATA "?[^" ]*"? \((.*)\)$', line, re.S).group(1)
        entries.update(parse_pairs(rest))
    return entries


def parse_pairs(data):
    """The name/value pairs of a METADATA response."""
    token = re.compile(rb'\s*(?:"((?:[^"\\]|\\.)*)"|~?\{(\d+)\}\r\n|([^\s()]+))', re.S)
    values = []
    position = 0
    while position < len(data):
        match = token.match(data, position)
        position = match.end()
        quoted, size, atom = match.groups()
        if size is not None:
            values.append(data[position : position + int(size)])
            position += int(size)
        elif quoted is not None:
            values.append(re.sub(rb"\\(.)", rb"\1", quoted))
        else:
            values.append(None if atom.upper() == b"NIL" else atom)
    return {values[i].decode(): values[i + 1] for i in range(0, len(values), 2)}
