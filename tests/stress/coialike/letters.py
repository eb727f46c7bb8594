# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Letters of all kinds, ordinary and broken, by the dice."""

import base64

ADDRESSES = ("a@example.org", '"B, C" <b@example.org>', "=?utf-8?q?D=C3=A9?= <d@example.org>")


def headers(dice, number, chat):
    lines = [
        b"From: " + dice.choice(ADDRESSES).encode(),
        b"To: recipient@example.org",
        b"Subject: letter %d %s" % (number, dice.choice([b"", b"=?utf-8?b?w6TDtg==?=", b"[...]"])),
        b"Date: " + dice.choice([b"Sat, 04 Jan 2025 10:00:00 +0000", b"yesterday"]),
        b"Message-ID: <%d@example.org>" % number,
    ]
    if dice.random() < 0.3:
        lines.append(b"References: <r%d@example.org>\r\n\t<s@example.org>" % (number // 3))
    if dice.random() < 0.2:
        del lines[dice.randrange(len(lines))]
    if chat:
        kind = dice.randrange(4)
        if kind == 0:
            lines.append(b"Message-ID: <chat$%d.x@example.org>" % number)
        elif kind == 1:
            lines.append(b"References: <chat$group.abcdefghijkl.1@example.org>")
        else:
            lines.append(b"Chat-Version: 1.0")
    dice.shuffle(lines)
    return lines


def plain(dice):
    return [], b"\r\n".join(b"line %d" % n for n in range(dice.randrange(9))) + b"\r\n"


def eight_bit(dice):
    fields = [b"MIME-Version: 1.0", b"Content-Type: text/plain; charset=utf-8"]
    return fields, "Grüße, 你好\r\n".encode() * dice.randrange(1, 50)


def multipart(dice):
    part = base64.encodebytes(bytes(range(256)) * dice.randrange(1, 9)).replace(b"\n", b"\r\n")
    text = b"--b\r\nContent-Type: text/html\r\n\r\n<p>Hi</p>\r\n"
    text += b"--b\r\nContent-Type: application/x; name=y\r\n"
    text += b"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n\r\n" + part
    text += b"--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n"
    text += b"\r\na=3Db=\r\n=\r\n\r\n--b--\r\nepilogue\r\n"
    return [b"MIME-Version: 1.0", b"Content-Type: multipart/mixed; boundary=b"], text


def nested(dice):
    inner = b"Chat-Version: 1.0\r\nSubject: inner\r\n\r\ninner text\r\n"
    return [b"MIME-Version: 1.0", b"Content-Type: message/rfc822"], inner * dice.randrange(1, 3)


def encrypted(dice):
    kind = b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=e'
    return [b"MIME-Version: 1.0", kind], b"--e\r\n\r\nx\r\n--e--\r\n"


def report(dice):
    kind = b"Content-Type: multipart/report; report-type=disposition-notification; boundary=r"
    return [b"MIME-Version: 1.0", kind], b"--r\r\n\r\nread\r\n--r--\r\n"


def odd_bytes(dice):
    return [], dice.choice(
        [
            b"a\0b\r\n",
            b"bare\nlines\n\n",
            b"a\rb\r\r\n",
            b".\r\n..\r\n.x\r\n",
            b"From nobody\r\n\r\nFrom nobody Sat Jan  4 10:00:00 2025\r\n",
            b"no end",
            b"",
            b"x" * 20000 + b"\r\n",
            bytes(range(128, 256)) + b"\r\n",
        ]
    )


def odd_header(dice):
    field = dice.choice(
        [
            b"no colon here",
            b" starts with a blank",
            b": no name",
            b"X-Long: " + b"y" * dice.choice([998, 70000]),
            b"X-Folded:\r\n" + b" z\r\n" * 2000 + b" z",
            b"X-Nul: a\0b",
            b"X-8bit: \xe4\xff",
            b"X-Bare: a\rb\nc",
            b"From: second@example.org",
            b"chat-version : 0",
            b"X-Chat-Version: 1.0",
            b"Status: RO\r\nX-Keywords: $Chat\r\nX-UID: 7",
            b"From nobody Sat Jan  4 10:00:00 2025",
        ]
    )
    return [field], b"odd header\r\n"


KINDS = (
    *(plain, plain, plain, eight_bit, multipart, nested, encrypted, report),
    *(odd_bytes, odd_header),
)


def letter(dice, number, chats=True):
    """One of them. chats says whether it may be a chat mail."""
    while True:
        chat = chats and dice.random() < 0.3
        fields, body = dice.choice(KINDS)(dice)
        if not chats and any(field.lower().startswith(b"chat-version") for field in fields):
            continue
        lines = headers(dice, number, chat) + fields
        if dice.random() < 0.1:
            lines.insert(0, lines.pop())
        if dice.random() < 0.02:
            return dice.choice([b"", b"\r\n", b"x", b"\r\n\r\nno header\r\n"])
        if dice.random() < 0.03:
            return b"\r\n".join(lines) + b"\r\n"
        return b"\r\n".join(lines) + b"\r\n\r\n" + body
