# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Delta Chat's core, which all its apps share, and what takes the mail that it sends."""

import itertools
import json
import os
import queue
import shutil
import subprocess
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from .lmtp import Lmtp
from .ports import HeldPort

DOMAIN = "example.org"
# How long something may take that has to come.
PATIENCE = 90


def program():
    """Where Delta Chat's core is, or None."""
    return shutil.which(os.environ.get("COI_TEST_DELTA_CHAT") or "deltachat-rpc-server")


class Submission:
    """Takes mail by SMTP from anybody, and gives it to the server's LMTP at once."""

    def __init__(self, server):
        self.server = server
        self.sent = []
        self.held = HeldPort()
        self.port = self.held.number
        self.controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            authenticator=lambda *_: AuthResult(success=True),
            auth_require_tls=False,
        )

    def __enter__(self):
        self.controller.start()
        return self

    def __exit__(self, *_):
        self.controller.stop()
        self.held.release()

    async def handle_DATA(self, _server, _session, envelope):
        self.sent.append(envelope.content)
        names = [address.partition("@")[0] for address in envelope.rcpt_tos]
        with Lmtp(self.server.lmtp_address) as lmtp:
            replies = lmtp.deliver(names, envelope.content, envelope.mail_from)
        refused = [reply for reply in replies if not reply.startswith("250")]
        return refused[0] if refused else "250 2.0.0 OK"


class Core:
    """One process of it, with the accounts in one folder. It speaks JSON-RPC, a line each."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [program()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "log").open("wb"),
            env={**os.environ, "DC_ACCOUNTS_PATH": str(folder / "accounts")},
        )
        self.numbers = itertools.count()
        self.answers = {}
        self.events = {}
        self.lock = threading.Lock()
        threading.Thread(target=self.read, daemon=True).start()
        threading.Thread(target=self.await_events, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(PATIENCE)

    def read(self):
        for line in self.process.stdout:
            answer = json.loads(line)
            self.answers.pop(answer["id"]).put(answer)

    def await_events(self):
        while True:
            try:
                for event in self.call("get_next_event_batch", patience=None):
                    self.events_of(event["contextId"]).put(event["event"])
            except (OSError, ValueError):
                return  # it has ended

    def events_of(self, account):
        return self.events.setdefault(account, queue.Queue())

    def call(self, method, *params, patience=PATIENCE):
        answer = queue.Queue()
        with self.lock:
            number = next(self.numbers)
            self.answers[number] = answer
            request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        found = answer.get(timeout=patience)
        assert "error" not in found, f"{method}: {found['error']}"
        return found["result"]

    def account(self, server, submission, name, folder):
        """A new account of that user, whose chats come from that folder. Returns its id."""
        account = self.call("add_account")
        self.call("set_config", account, "displayname", name)
        login = {
            "addr": f"{name}@{DOMAIN}",
            "password": server.password,
            "imapServer": "127.0.0.1",
            "imapPort": server.imap_address[1],
            "imapUser": name,
            "imapSecurity": "plain",
            "imapFolder": folder,
            "smtpServer": "127.0.0.1",
            "smtpPort": submission.port,
            "smtpUser": name,
            "smtpSecurity": "plain",
        }
        self.call("add_transport", account, login)
        self.call("start_io", account)
        # What is in the folder when it first opens it, it takes for old and doesn't fetch.
        self.await_event(account, lambda event: event["kind"] == "ImapInboxIdle")
        return account

    def await_event(self, account, is_it):
        """The first event from now on for which that is true."""
        story = []
        try:
            while True:
                event = self.events_of(account).get(timeout=PATIENCE)
                story.append(event)
                if is_it(event):
                    return event
        except queue.Empty:
            raise AssertionError(f"never came; but: {story[-20:]}") from None

    def await_message(self, account, text):
        """The message with that text, which comes now."""
        while True:
            event = self.await_event(account, lambda event: event["kind"] == "IncomingMsg")
            message = self.call("get_message", account, event["msgId"])
            if message["text"] == text:
                return message
