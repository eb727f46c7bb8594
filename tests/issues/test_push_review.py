# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes of push that a review, and its first load tests, have found.

Those that need no server are in relay_*_test.cc.
"""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import h2.errors
import pytest
from harness.config import version
from harness.h2server import Behaviour, push_service
from harness.held import LOCK_OF_SUBSCRIPTIONS, Held
from harness.lmtp import Lmtp
from harness.mails import chat, mail
from harness.push import VAPID, eventually, gone, queued, service_pids, subscriptions
from harness.push_service import answer
from test_failing_metadata import unwritable

pytestmark = pytest.mark.private

RST_STREAM = 3
RESETS_MAX = 1000


class NoThousandResets(Behaviour):
    """As all common services since CVE-2023-44487, nghttp2's defaults among them."""

    def __init__(self, *args):
        super().__init__(*args)
        self.resets = 0
        self.buffer = b""
        self.preface = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

    def on_data(self, data):
        # libcurl resets streams that are over, which the h2 module doesn't tell.
        self.buffer += data
        if self.preface:
            if len(self.buffer) < self.preface:
                return
            self.buffer, self.preface = self.buffer[self.preface :], 0
        while len(self.buffer) >= 9:
            size = 9 + int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < size:
                break
            self.resets += self.buffer[3] == RST_STREAM
            self.buffer = self.buffer[size:]
        if self.resets >= RESETS_MAX:
            self.connection.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
            self.is_over = True


def test_END_4_services_closed_a_connection_with_a_thousand_resets(authority):
    with push_service(authority.certificate("localhost"), NoThousandResets) as service:
        program = Path(os.environ["COI_TEST_BUILD"]) / "tests/coi-sender-run"
        output = subprocess.run(
            [program, f"ca={authority.ca}", "count=2500", "size=100", "timeout=60000", service.url],
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        ).stdout
    *results, summary = [json.loads(line) for line in output.splitlines()]
    assert summary["answered"] == 2500
    assert {result["http"] for result in results} == {201}


def test_SUB_1_a_service_that_hangs_made_listings_fail(own, subscriber):
    """It was asked for its key, and the whole of GETMETADATA was a NO."""
    user = own.coi_user("active")
    (pid,) = eventually(lambda: service_pids(own), "the service runs")
    os.kill(pid, signal.SIGSTOP)
    try:
        with own.imap(user) as client:
            found = client.getmetadata("/private/vendor/vendor.dovecot", depth="infinity")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert found["/private/vendor/vendor.dovecot/coi/config/enabled"] == b"yes"


def test_SUB_1_a_key_that_can_not_be_told_now_looked_as_if_there_never_were_one(make_server, log):
    """CANNOT is what a client gives up at."""
    log.expect(r"coi-push: Error: Can't start.*coi_push_ttl|coi: Can't ask coi-push for its key")
    server = make_server(push=(("coi_push_ttl", "0 s"),))
    with server.imap(server.new_user()) as client:
        response = client.command(f'GETMETADATA "" {VAPID}')
        assert (response.status, response.reason) == (
            "NO",
            "[UNAVAILABLE] Push is not available at the moment",
        )


@pytest.mark.skipif(version() == "2.4.2", reason="this Dovecot waits for it in any case")
def test_MSG_1_mail_that_nobody_wants_pushed_waited_for_a_lock(make_server, subscriber):
    """A maildir stores a mail without a UID where somebody holds the lock; a push needs one."""
    server = make_server()
    user = server.coi_user("none")
    subscriber(server, user, "chat").subscribe()
    server.deliver("lmtp", user, chat("first"))
    lock = server.write(user, "maildir/dovecot-uidlist.lock", "")
    # The client gives up before Dovecot breaks the lock.
    server.deliver("lmtp", user, mail("mail"))
    lock.unlink()
    assert set(server.where(user)) == {"first", "mail"}


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_SUB_2_what_waited_for_a_subscription_was_sent_after_its_end(own, subscriber, service, how):
    """A lost phone got subject and text of all that waited, for a day."""
    one = subscriber(own, own.new_user()).subscribe()
    service.on(one.path, answer(503))
    own.deliver("lmtp", one.user, mail("secret"))
    one.pushes(1)
    assert queued(own) == 1
    if how == "removed":
        assert one.remove().ok
    else:
        service.on(one.path, answer(201))
        assert one.set().ok
    eventually(lambda: queued(own) == 0, "nothing waits")
    assert len(one.requests()) == 1


def test_MSG_9_one_that_cannot_be_removed_is_not_tried_by_each_delivery(own, subscriber, log):
    log.expect("dovecot-attributes|Can't remove push subscriptions")
    one = subscriber(own, own.new_user()).subscribe()
    gone(own, one)
    before = log.count(own, "lmtp.*Disconnect")
    with unwritable(own, one.user), Lmtp(own.lmtp_address) as client:
        for _ in range(3):
            (reply,) = client.deliver([one.user], mail("mail"))
            assert reply.startswith("250")
    eventually(lambda: log.count(own, "lmtp.*Disconnect") > before, "all is logged")
    assert log.count(own, "Can't remove push subscriptions") == 1


def test_MSG_11_no_delivery_waits_for_who_changes_subscriptions(own, subscriber):
    """That takes as long as others like, and the one that is gone can be removed later."""
    one = subscriber(own, own.new_user()).subscribe()
    gone(own, one)
    attributes = own.home(one.user) / "dovecot-attributes"
    with Held(own, one.user, LOCK_OF_SUBSCRIPTIONS):
        began = time.monotonic()
        own.deliver("lmtp", one.user, mail("meanwhile"))
        # Others wait for 20 s.
        assert time.monotonic() - began < 15
        assert one.id in attributes.read_text()
    own.deliver("lda", one.user, mail("later"))
    assert one.id not in attributes.read_text()


def test_MSG_9_one_that_was_gone_was_shown_by_its_name(own, subscriber):
    one = subscriber(own, own.new_user()).subscribe()
    gone(own, one)
    with own.imap(one.user) as client:
        assert client.getmetadata(one.entry) == {one.entry: None}


def test_SUB_5_those_that_were_gone_kept_out_new_ones(fresh_server, subscriber, service, log):
    log.expect(r"coi-push|coi: ")
    server = fresh_server(push=(("webpush_subscription_limit", "1"),))
    one = subscriber(server, server.new_user()).subscribe()
    another = subscriber(server, one.user)
    assert not another.set().ok
    gone(server, one)
    another.subscribe()
    assert set(subscriptions(server, one.user)) == {another.id}


def test_SUB_2_a_removal_was_kept_from_the_service_that_had_been_away(
    fresh_server, subscriber, service, log
):
    log.expect("coi: |coi-push")
    server = fresh_server(push=(("coi_push_handoff_timeout", "1 s"),))
    one = subscriber(server, server.new_user()).subscribe()
    service.on(one.path, answer(503))
    server.deliver("lmtp", one.user, mail("secret"))
    eventually(lambda: queued(server) == 1 and one.requests(), "it waits")
    (pid,) = service_pids(server)
    with server.imap(one.user) as client:
        os.kill(pid, signal.SIGSTOP)
        try:
            client.command(f'GETMETADATA "" ({one.entry.rpartition("/subscriptions")[0]}/vapid)')
        finally:
            os.kill(pid, signal.SIGCONT)
        # It is back, which this session finds out when it next asks.
        assert queued(server) == 1
        assert client.setmetadata({one.entry: None}).ok
    eventually(lambda: queued(server) == 0, "it is forgotten")


def test_SUB_2_of_many_large_ones_that_were_removed_some_were_sent(
    fresh_server, subscriber, service, log
):
    """They did not fit into one request to the service."""
    log.expect("coi-push")
    server = fresh_server(
        push=(("webpush_subscription_limit", "40"), ("coi_push_register_limit", "100"))
    )
    user = server.new_user()
    all_of_them = []
    for _ in range(36):
        one = subscriber(server, user)
        large = {"exclude_from": [f"{number}{'x' * 240}@x.org" for number in range(31)]}
        assert one.set(json.dumps(one.value | large)).ok
        assert one.validate(one.validations()[-1].payload["validation"]).ok
        service.on(one.path, answer(503))
        all_of_them.append(one)
    server.deliver("lmtp", user, mail("secret"))
    eventually(lambda: queued(server) == len(all_of_them), "they wait")
    with server.imap(user) as client:
        assert client.setmetadata({one.entry: None for one in all_of_them}).ok
    assert queued(server) == 0


@pytest.mark.parametrize(
    "value, name",
    [
        ("Mail Delivery System <MAILER-DAEMON>", "Mail Delivery System"),
        ("MAILER-DAEMON (Mail Delivery System)", "Mail Delivery System"),
        ("=?utf-8?q?J=C3=BCrgen?= <>", "Jürgen"),
        ("Name <root>, Other <>", "Name"),
        ("MAILER-DAEMON", None),
        ('"Group": ;', None),
        ("<root>, Name <name@example.org>", "Name"),
        ("name@example.org, Other <root>", None),
    ],
)
def test_MSG_4_the_name_of_a_sender_without_domain_was_left_out(server, subscriber, value, name):
    user = server.new_user()
    one = subscriber(server, user).subscribe()
    server.deliver("lmtp", user, f"From: {value}\nSubject: s\n\nHello.\n".encode())
    (push,) = one.pushes(1)
    assert push.payload.get("from-name") == name
    assert push.payload.get("from-email") in (None, "name@example.org")
