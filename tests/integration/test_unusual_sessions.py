# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""IMAP that comes compressed, or over ssh, or in UTF-8."""

import base64
import subprocess
import unicodedata
import zlib

import pytest
from harness import hibernation, instruments
from harness.config import by_dialect, plugins, settings
from harness.imap import Imap, quote
from harness.lmtp import Lmtp
from harness.mails import chat, mail
from harness.server import ROOT
from test_blocked import add, contact

pytestmark = pytest.mark.private

FILTER = f"{ROOT}/message-filter"
ENABLED = f"{ROOT}/enabled"
MAILBOX_ROOT = f"{ROOT}/mailbox-root"


class Deflated:
    """A connection that both sides compress (RFC 4978); socket and stream in one."""

    def __init__(self, sock):
        self.sock = sock
        self.out = zlib.compressobj(wbits=-15)
        self.into = zlib.decompressobj(-15)
        self.buffer = b""
        self.close = sock.close

    def sendall(self, data):
        self.sock.sendall(self.out.compress(data) + self.out.flush(zlib.Z_SYNC_FLUSH))

    def receive(self):
        data = self.sock.recv(4096)
        assert data, f"the server closed the connection after {self.buffer!r}"
        self.buffer += self.into.decompress(data)

    def read(self, size):
        while len(self.buffer) < size:
            self.receive()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def readline(self):
        while b"\n" not in self.buffer:
            self.receive()
        return self.read(self.buffer.index(b"\n") + 1)


@pytest.mark.parametrize("how", ("IDLE", "NOTIFY"))
@pytest.mark.parametrize("mail_format", ("maildir", "mdbox"))
def test_IDL_1_told_to_who_compresses(make_server, mail_format, how):
    server = make_server(
        mail_format=mail_format,
        after=by_dialect(v2_3=plugins("imap_zlib", protocol="imap"), v2_4="")
        + hibernation.SETTINGS,
    )
    user = server.coi_user("active")
    for make in (mail, chat):
        server.deliver("lmtp", user, make("0"))
    with server.imap(user) as client:
        client.must("COMPRESS DEFLATE")
        client.sock = client.stream = Deflated(client.sock)
        if how == "IDLE":
            assert client.exists("INBOX") == 1
            client.idle()
        else:
            client.must("NOTIFY SET (PERSONAL (MessageNew MessageExpunge))")
        for number in range(2, 12):
            server.deliver("lmtp", user, mail(str(number)))
            server.deliver("lmtp", user, chat(str(number)))
            if how == "IDLE":
                client.read_until(f"* {number} EXISTS")
            else:
                client.read_until(f"STATUS {server.chats} (MESSAGES {number} ")
        if how == "IDLE":
            assert client.done().ok
        assert client.getmetadata(FILTER) == {FILTER: b"active"}


class Piped(Imap):
    """A session with a program that the user has started, as by ssh."""

    def __init__(self, *command):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=instruments.environment(),
        )
        self.sock = self
        self.stream = self.process.stdout
        self.count = 0
        self.early = []
        self.greeting = self.read_line()

    def sendall(self, data):
        self.process.stdin.write(data)

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(60) == 0
        self.process.stdout.close()


@pytest.mark.parametrize("program", ("imap", "doveadm exec imap"))
def test_CAP_1_CFG_5_FIL_3_IDL_1_a_session_without_a_login(make_server, program):
    server = make_server()
    user = server.coi_user("seen")
    commands = {
        "imap": ["/usr/lib/dovecot/imap", "-c", str(server.conf)],
        "doveadm exec imap": ["doveadm", "-c", str(server.conf), "exec", "imap"],
    }
    with Piped(*commands[program], "-u", user) as client, server.imap(user) as other:
        assert client.greeting.startswith(b"* PREAUTH ")
        # but for what only a login makes, as its language
        offered = {"COI", "WEBPUSH", "METADATA-SERVER"} & set(other.capabilities())
        assert offered == {"COI", "WEBPUSH", "METADATA-SERVER"}
        assert offered < set(client.capabilities())
        assert client.getmetadata(FILTER) == {FILTER: b"seen"}
        client.exists("INBOX")
        client.idle()
        server.deliver("lmtp", user, chat("chat"))
        client.idle_until("EXISTS")
        assert client.done().ok
        client.store("1", "+FLAGS", "\\Seen")
        assert client.must("NOOP").lines("EXPUNGE") == [b"* 1 EXPUNGE"]
    assert server.where(user) == {"chat": (server.chats, {"$Chat", "\\Seen"})}


def in_utf7(name):
    """As RFC 3501 has the names of folders."""
    out, rest = "", ""
    for char in name + " ":
        if not " " <= char <= "~":
            rest += char
            continue
        if rest:
            coded = base64.b64encode(rest.encode("utf-16-be")).decode().rstrip("=")
            out += "&" + coded.replace("/", ",") + "-"
            rest = ""
        out += "&-" if char == "&" else char
    return out[:-1]


def takes_utf8(server, client):
    """Whether ENABLE UTF8=ACCEPT, which was given, is about the names of folders, too, as it is
    since 2.4.3."""
    name = quote(server.folder("Prüfung"))
    taken = client.command(f"CREATE {name}").ok
    return taken and client.must(f"DELETE {name}").ok


def form_of(name, server, client, coded=in_utf7):
    """What the server makes of the name of a folder: since 2.4.3, Unicode's NFC."""
    client.must(f"CREATE {quote(coded(server.folder('Probe ' + name)))}")
    (listed,) = (folder for folder in client.folders() if "Probe " in folder)
    client.must(f"DELETE {quote(listed)}")
    forms = (name, unicodedata.normalize("NFC", name))
    return next(form for form in forms if listed == coded(server.folder("Probe " + form)))


def in_utf8(mail_format):
    """Folders are called on disk what the user calls them."""
    return by_dialect(
        v2_3=f"mail_location = {mail_format}:~/{mail_format}:UTF-8\n",
        v2_4="mailbox_list_utf8 = yes\n",
    )


ROOTS = (unicodedata.normalize("NFD", "Gespräche"), "日本語😀", "A&B")


@pytest.mark.parametrize("root", ROOTS, ids=("nfd", "astral", "ampersand"))
@pytest.mark.parametrize("mail_format, on_disk", [("maildir", "utf-8"), ("sdbox", "utf-7")])
def test_CFG_1_ENA_6_ENA_8_ENA_9_FIL_2_a_root_in_UTF_8(
    make_server, subscriber, mail_format, root, on_disk
):
    """Of which 2.4.1 wants the names of folders in UTF-7 after ENABLE UTF8=ACCEPT, too."""
    server = make_server(
        mail_format=mail_format,
        prefix="Übrig/" if mail_format == "sdbox" else "",
        after=settings(coi_mailbox_root=root)
        + by_dialect(v2_3="", v2_4="mail_utf8_extensions = yes\n")
        + (in_utf8(mail_format) if on_disk == "utf-8" else ""),
    )
    user = server.new_user()
    with server.imap(user) as client:
        coded = in_utf7
        if "UTF8=ACCEPT" in client.capabilities():
            assert client.must("ENABLE UTF8=ACCEPT").untagged == [b"* ENABLED UTF8=ACCEPT"]
            if takes_utf8(server, client):
                coded = str
        given, root = root, form_of(root, server, client, coded)
        chats = coded(server.folder(root, "Chats"))
        assert client.getmetadata(MAILBOX_ROOT) == {MAILBOX_ROOT: server.folder(root).encode()}
        assert not client.setmetadata({MAILBOX_ROOT: "Ü"}).ok
        assert client.setmetadata({ENABLED: "yes", FILTER: "active"}).ok
        assert chats in client.folders("LSUB")
        phone = subscriber(server, user).subscribe()
        server.deliver("lmtp", user, chat("chat"))
        assert client.subjects(chats) == ["chat"]
        (push,) = phone.pushes(1)
        assert push.payload["folder"] == server.folder(root, "Chats")
        client.must("UNSELECT")
        assert not client.command(f"RENAME {quote(chats)} Other").ok
        # Where Dovecot leaves names as they are, it is another folder.
        for form in ("NFC", "NFD"):
            twin = coded(server.folder(unicodedata.normalize(form, root), "Chats"))
            if twin != chats and root == given:
                client.must(f"CREATE {quote(twin)}")
                client.must(f"DELETE {quote(twin)}")
        assert client.getmetadata(ENABLED) == {ENABLED: b"yes"}
        client.must(f"DELETE {quote(chats)}")
        assert client.getmetadata(ENABLED) == {ENABLED: None}
        client.must(f"CREATE {quote(chats)}")
        assert client.getmetadata(ENABLED) == {ENABLED: b"yes"}


def test_BLK_2_MSG_4_mail_from_an_address_in_UTF_8(make_server, subscriber):
    server = make_server(after=by_dialect(v2_3="", v2_4="mail_utf8_extensions = yes\n"))
    user = server.coi_user("active")
    phone = subscriber(server, user).subscribe()
    text = chat("Grüße").replace(b"sender@example.org", "BÄR@exämple.org".encode())

    def deliver():
        with Lmtp(server.lmtp_address) as lmtp:
            offered = "SMTPUTF8" in lmtp.command("LHLO localhost")
            parameter = " SMTPUTF8" if offered else ""
            assert lmtp.command(f"MAIL FROM:<BÄR@exämple.org>{parameter}").startswith("250")
            assert lmtp.command(f"RCPT TO:<{user}>").startswith("250")
            assert lmtp.command("DATA").startswith("354")
            lmtp.sock.sendall(text.replace(b"\n", b"\r\n") + b"\r\n.\r\n")
            assert lmtp.reply().startswith("250")
            return offered

    assert deliver() == by_dialect(v2_3=False, v2_4=True)
    (push,) = phone.pushes(1)
    assert push.payload["from-email"] == "bär@exämple.org"
    assert push.payload["subject"] == "Grüße"
    add(server, user, contact("bär@exämple.org", blocked=True))
    deliver()
    with server.imap(user) as client:
        assert client.exists(server.chats) == client.exists("Blocked") == 1
