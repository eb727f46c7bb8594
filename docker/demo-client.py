#!/usr/bin/env python3
# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Shows COI at work on a running server, by IMAP and LMTP alone.

Every line that is shown is read back from the server. The exit status is 0
if all is as it should be, 1 if not, 2 if the server cannot be spoken to.
"""

import argparse
import email
import email.policy
import imaplib
import re
import smtplib
import socket
import sys
import textwrap
import time
import uuid

CONFIG = "/private/vendor/vendor.dovecot/coi/config/"
WEBPUSH = "/private/vendor/vendor.dovecot/webpush/"
imaplib.Commands["SETMETADATA"] = ("AUTH", "SELECTED")
imaplib.Commands["GETMETADATA"] = ("AUTH", "SELECTED")

failures = []


def say(text=""):
    print(text, flush=True)


def check(good, text):
    """Remembers what is not as it should be."""
    if not good:
        failures.append(text)
    return good


class Imap(imaplib.IMAP4):
    def __init__(self, options, user, password):
        super().__init__(options.host, options.imap_port, timeout=30)
        self.before_login = self.capability_line()
        self.user = user
        self.must(self.login(user, password))
        self.after_login = self.capability_line()

    @staticmethod
    def must(answer):
        status, data = answer
        if status != "OK":
            raise imaplib.IMAP4.error(data[0].decode("utf-8", "replace"))
        return data

    def capability_line(self):
        return self.must(self.capability())[0].decode()

    def set_config(self, name, value):
        command = ("SETMETADATA", '""', f'({CONFIG}{name} "{value}")')
        return "OK " + self.must(self.xatom(*command))[0].decode()

    def set_webpush(self, name, value):
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        command = ("SETMETADATA", '""', f'({WEBPUSH}{name} "{quoted}")')
        return "OK " + self.must(self.xatom(*command))[0].decode()

    def get_config(self):
        """What the server has below .../coi/config, as a dict."""
        return self.get_entries(CONFIG)

    def get_entries(self, root):
        self.untagged_responses.pop("METADATA", None)
        self.must(
            self.xatom("GETMETADATA", "(DEPTH 1)", '""', f"({root.rstrip('/')})")
        )
        text = b""
        for part in self.response("METADATA")[1]:
            if isinstance(part, tuple):  # a literal: what led to it, and it
                literal = part[1].replace(b"\\", b"\\\\").replace(b'"', b'\\"')
                text += re.sub(rb"\{\d+\+?\}$", b"", part[0]) + b'"' + literal + b'"'
            elif part is not None:
                text += part
        found = re.findall(rb'(/\S+) (?:"((?:[^"\\]|\\.)*)"|NIL)', text)
        return {
            key.decode()[len(root) :]: value.decode("utf-8", "replace")
            for key, value in found
            if key.decode().startswith(root)
        }

    def separator(self):
        """What stands between a folder's name and its parent's."""
        line = self.must(self.list('""', '""'))[0]
        return re.fullmatch(rb'\(.*?\) "?(.*?)"? "?.*?"?', line)[1].decode()

    def folders(self, pattern="*"):
        names = []
        for line in self.must(self.list('""', pattern)):
            if isinstance(line, bytes):
                match = re.fullmatch(rb'\((.*?)\) \S+ "?(.*?)"?', line)
                if match and b"\\noselect" not in match[1].lower():
                    names.append(match[2].decode())
        return names

    def mails(self):
        """All mails of the user: (folder, flags, headers)."""
        result = []
        for folder in self.folders():
            self.must(self.select(f'"{folder}"', readonly=True))
            data = self.must(
                self.fetch("1:*", "(FLAGS BODY.PEEK[HEADER])")
                if int(self.untagged_responses["EXISTS"][-1])
                else ("OK", [])
            )
            for i, part in enumerate(data):
                if not isinstance(part, tuple):
                    continue
                rest = data[i + 1] if i + 1 < len(data) else b""
                text = part[0] + (rest if isinstance(rest, bytes) else b"")
                flags = imaplib.ParseFlags(text)
                headers = email.message_from_bytes(
                    part[1], policy=email.policy.compat32
                )
                result.append((folder, [f.decode() for f in flags], headers))
        return result


def wait_for_server(options):
    """Returns when both ports greet."""
    end = time.monotonic() + options.wait
    for port, greeting in ((options.imap_port, b"* OK"), (options.lmtp_port, b"220 ")):
        while True:
            try:
                with socket.create_connection((options.host, port), 5) as connection:
                    if connection.recv(512).startswith(greeting):
                        break
                    error = "no greeting"
            except OSError as caught:
                error = caught
            if time.monotonic() > end:
                raise ConnectionError(f"{options.host}:{port}: {error}")
            time.sleep(0.2)


def deliver(options, recipients, text):
    """Delivers one mail by LMTP: {recipient: (code, answer)}."""
    answers = {}
    with smtplib.LMTP(options.host, options.lmtp_port, timeout=60) as lmtp:
        lmtp.ehlo_or_helo_if_needed()
        lmtp.mail("<julia@example.com>")
        for recipient in recipients:
            answers[recipient] = lmtp.rcpt(recipient)
        accepted = [r for r in recipients if answers[r][0] in (250, 251)]
        if accepted:
            code, answer = lmtp.docmd("DATA")
            if code != 354:
                raise smtplib.SMTPDataError(code, answer)
            lmtp.send(smtplib.quotedata(text).encode() + b".\r\n")
            # Here LMTP is not SMTP: one answer for each recipient. (smtplib's
            # own sendmail() reads one.)
            for recipient in accepted:
                answers[recipient] = lmtp.getreply()
    return {r: (c, a.decode("utf-8", "replace")) for r, (c, a) in answers.items()}


def capabilities(title, line):
    say(title)
    text = textwrap.fill(line, 76, break_on_hyphens=False, break_long_words=False)
    say(textwrap.indent(text, "  "))


def unfold(value):
    return " ".join(str(value).split())


def short(text, width):
    return text if len(text) <= width else text[: width - 3] + "..."


def chat_header(headers):
    """The header that makes a mail chat, or None."""
    if headers["Chat-Version"] is not None:
        return f"Chat-Version: {unfold(headers['Chat-Version'])}"
    if unfold(headers["Message-ID"] or "").startswith("<chat$"):
        return f"Message-ID: {short(unfold(headers['Message-ID']), 26)}"
    if unfold(headers["References"] or "").startswith("<chat$"):
        return f"References: {short(unfold(headers['References']), 26)}"
    return None


def table(head, rows):
    widths = [max(len(row[i]) for row in [head] + rows) for i in range(len(head))]
    for row in [head, ["-" * width for width in widths]] + rows:
        say("  " + "  ".join(f"{c:<{w}}" for c, w in zip(row, widths)).rstrip())


def new_mails(recipients):
    """The three mails: (name, where it belongs with COI on, Message-ID, text)."""
    unique = uuid.uuid4().hex[:16]
    common = (
        "From: Julia <julia@example.com>\r\n"
        f"To: {', '.join(recipients)}\r\n"
        f"Date: {email.utils.formatdate(localtime=True)}\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
    )
    kinds = (
        (
            "an ordinary mail",
            False,
            f"<{unique}.1@example.com>",
            "Minutes of Monday",
            "",
        ),
        (
            "a mail of a chat client",
            True,
            f"<{unique}.2@example.com>",
            "Message from Julia",
            "Chat-Version: 1.0\r\n",
        ),
        (
            "an old mail client's reply to a chat mail",
            True,
            f"<{unique}.3@example.com>",
            "Re: Message from Alice",
            f"References: <chat${uuid.uuid4().hex[:12]}@example.org>\r\n",
        ),
    )
    for name, is_chat, message_id, subject, extra in kinds:
        text = (
            f"Message-ID: {message_id}\r\nSubject: {subject}\r\n{extra}{common}"
            "\r\nSee you at eight.\r\n"
        )
        yield name, is_chat, message_id, text


def demo(options):
    (alice, alice_password), (bob, bob_password) = options.user

    with Imap(options, alice, alice_password) as imap:
        capabilities("CAPABILITY before login", imap.before_login)
        capabilities(f"CAPABILITY of {alice}", imap.after_login)
        check(
            "COI" not in imap.before_login.split(),
            "COI is announced before login",
        )
        if not check("COI" in imap.after_login.split(), "COI is not offered"):
            return
        say(f"\n{alice} turns COI on")
        for name, value in (("enabled", "yes"), ("message-filter", "active")):
            answer = imap.set_config(name, value)
            say(f'  SETMETADATA "" ({CONFIG}{name} "{value}")\n    {answer}')

    say("\nEach mail is delivered to both")
    sent = {}
    for name, is_chat, message_id, text in new_mails((alice, bob)):
        say(f"  {name}")
        for user, (code, answer) in deliver(options, (alice, bob), text).items():
            say(f"    LMTP: {code} {answer}")
            check(code == 250, f"{user}: {name} was refused: {code} {answer}")
        sent[message_id] = (name, is_chat)

    rows = []
    for user, password, enabled in (
        (alice, alice_password, True),
        (bob, bob_password, False),
    ):
        with Imap(options, user, password) as imap:
            config = imap.get_config()
            separator = imap.separator()
            folders = imap.folders()
            mails = imap.mails()
        say(f"\n{user}")
        say(
            "  configuration: "
            + ", ".join(f"{key} = {value}" for key, value in sorted(config.items()))
        )
        say("  folders:       " + ", ".join(sorted(folders)))
        say()
        root = config.get("mailbox-root", "")
        chats, contacts = (root + separator + name for name in ("Chats", "Contacts"))
        on = config.get("enabled") == "yes"
        mode = config.get("message-filter", "none")
        check(on == enabled, f"{user}: enabled is {config.get('enabled')!r}")
        check(root, f"{user}: mailbox-root is not there")
        if enabled:
            check(mode == "active", f"{user}: message-filter is {mode!r}")
            for folder in (chats, contacts):
                check(folder in folders, f"{user}: there is no folder {folder}")
        else:
            extra = [
                f for f in folders if f == root or f.startswith(root + separator)
            ]
            check(not extra, f"{user}: COI is off, and there are {extra}")

        rows = []
        for message_id, (name, is_chat) in sent.items():
            found = [m for m in mails if unfold(m[2]["Message-ID"] or "") == message_id]
            if not check(
                len(found) == 1, f"{user}: {name} is there {len(found)} times, not once"
            ):
                continue
            folder, flags, headers = found[0]
            keywords = [f for f in flags if not f.startswith("\\")]
            why = chat_header(headers)
            if not on:
                reason = "COI is off" + (f" ({why})" if why else "")
            else:
                reason = why or "no chat header"
            rows.append(
                [name, folder, " ".join(keywords) or "-", reason]
            )
            wanted = chats if is_chat and enabled else "INBOX"
            check(folder == wanted, f"{user}: {name} is in {folder}, not in {wanted}")
            check(
                ("$Chat" in keywords) == (is_chat and enabled),
                f"{user}: {name} has the keywords {keywords}",
            )
        table(["mail", "folder", "keywords", "why"], rows)


def push_demo(options):
    """A phone subscribes at a push service, registers, and is woken."""
    # Only this part needs more than Python's own library.
    from phone import Phone

    user, password = options.user[0]
    phone = Phone(options.push_service)
    say(f"\nThe phone of {user} subscribes at the push service {options.push_service}")
    with Imap(options, user, password) as imap:
        if not check("WEBPUSH" in imap.after_login.split(), "WEBPUSH is not offered"):
            return
        name = "subscriptions/demo-phone-" + uuid.uuid4().hex[:8]
        say(f'  SETMETADATA "" ({WEBPUSH}{name} "{{...}}")')
        say(f"    {imap.set_webpush(name, phone.subscription())}")
        _, size, message = phone.receive()
        text = message.get("validation", "")
        if not check(text, f"the validation message is {message}"):
            return
        say(f"  the phone gets {size} octets, and decrypts them:")
        say(f"    {short(str(message), 70)}")
        answer = imap.set_webpush(f"{name}/validate", text)
        say(f'  SETMETADATA "" ({WEBPUSH}{name}/validate "...")')
        say(f"    {answer}")

    say("\nA chat mail is delivered")
    _, _, message_id, text = list(new_mails((user,)))[1]
    began = time.monotonic()
    ((code, answer),) = deliver(options, (user,), text).values()
    answered = time.monotonic()
    say(f"  LMTP: {code} {answer}")
    came, size, message = phone.receive()
    say(f"  the phone gets {size} octets, and decrypts them:")
    for key, value in message.items():
        say(f"    {key}: {short(str(value).strip(), 60)}")
    check(message.get("msg-id") == message_id, f"the push is about {message.get('msg-id')}")
    side = "before" if came < answered else "after"
    say(
        f"  {1000 * (came - began):.0f} ms after the delivery began, "
        f"{1000 * abs(came - answered):.0f} ms {side} LMTP's 250"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--imap-port", type=int, default=1143)
    parser.add_argument("--lmtp-port", type=int, default=2424)
    parser.add_argument(
        "--user",
        action="append",
        type=lambda text: tuple(text.split(":", 1)),
        metavar="NAME:PASSWORD",
        help="the first one turns COI on, the second one does not",
    )
    parser.add_argument(
        "--push-service", metavar="URL", help="an ntfy server, for the push"
    )
    parser.add_argument(
        "--wait", type=float, default=30, help="seconds to wait for the server"
    )
    options = parser.parse_args()
    if len(options.user or ()) != 2 or any(len(u) != 2 for u in options.user):
        parser.error("needs --user NAME:PASSWORD twice")
    try:
        wait_for_server(options)
        demo(options)
        if options.push_service:
            push_demo(options)
    except (OSError, imaplib.IMAP4.error, smtplib.SMTPException) as error:
        say(f"\nThe server cannot be spoken to: {error}")
        return 2
    say()
    for failure in failures:
        say(f"NOT AS IT SHOULD BE: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
