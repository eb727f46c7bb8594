# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What docs/ tells an admin to do with Dovecot's own tools does what it says there."""

import time

import pytest
from harness.config import by_dialect
from harness.mails import chat, mail
from harness.push import eventually
from harness.push_service import answer
from harness.server import ROOT

pytestmark = pytest.mark.private

METRIC = "metric coi_chats {\n  filter = event=coi_chat_delivered\n" + by_dialect(
    v2_3="  group_by = filter\n}\n",
    v2_4="  group_by filter {\n    method discrete {\n    }\n  }\n}\n",
)


PUSH_METRIC = "metric coi_pushes {\n  filter = event=coi_push_finished\n" + by_dialect(
    v2_3="  group_by = outcome validation\n}\n",
    v2_4="  group_by outcome {\n    method discrete {\n    }\n  }\n"
    "  group_by validation {\n    method discrete {\n    }\n  }\n}\n",
)


def test_ENA_1_ENA_10_doveadm_sets_and_shows_the_entries(server):
    user = server.new_user()
    metadata = ("doveadm", "mailbox", "metadata")
    key = f"{ROOT}/enabled"
    assert server.run(*metadata, "set", "-u", user, "-s", "", key, "yes").returncode == 0
    assert server.run(*metadata, "get", "-u", user, "-s", "", key).stdout == b"yes\n"
    shown = server.run(*metadata, "list", "-u", user, "-s", "", ROOT.rpartition("/")[0]).stdout
    assert shown.split() == [b"config/mailbox-root", b"config/enabled"]
    with server.imap(user) as client:
        assert {server.chats, server.contacts} <= set(client.folders())


def metric(server, name, column):
    dump = server.run("doveadm", "stats", "dump").stdout
    head, *rows = [line.split(b"\t") for line in dump.splitlines()]
    return [row[head.index(column)] for row in rows if row[0] == name.encode()]


def counted(server, name):
    return metric(server, name, b"count")


def test_an_event_is_sent_for_each_chat_mail(fresh_server, log):
    server = fresh_server(after=METRIC + "log_debug = event=coi_chat_delivered\n")
    user = server.coi_user("active")
    for make in (chat, mail, chat):
        server.deliver("lmtp", user, make(make.__name__ + server.next_name()))
    # Both come by way of other processes.
    found = "rule chat-version, filter active"
    eventually(lambda: log.count(server, found) == 2, "both are in the log")
    eventually(lambda: counted(server, "coi_chats_active") == [b"2"], "both are counted")
    assert log.count(server, found) == 2


def test_pushes_are_counted_and_registrations_apart(fresh_server, subscriber, service, log):
    log.expect("coi-push")
    server = fresh_server(after=PUSH_METRIC)
    one = subscriber(server, server.new_user()).subscribe()
    server.deliver("lmtp", one.user, mail("mail"))
    one.until("mail")
    another = subscriber(server, one.user)
    service.on(another.path, answer(403))
    assert not another.set().ok
    for name, number in (("dropped_yes", b"1"), ("delivered_yes", b"1"), ("delivered_no", b"1")):
        eventually(lambda: counted(server, f"coi_pushes_{name}") == [number], name)


def slow(exchange):
    exchange.pause(2)
    return answer(201)(exchange)


def test_the_duration_of_a_push_is_not_the_age_of_the_process(fresh_server, subscriber, service):
    """But that of the push."""
    server = fresh_server(
        after="metric coi_age {\n  filter = event=coi_push_finished\n  fields = age_usecs\n}\n"
    )
    one = subscriber(server, server.new_user()).subscribe()
    time.sleep(3)
    service.on(one.path, slow)
    server.deliver("lmtp", one.user, mail("mail"))
    one.until("mail")
    eventually(lambda: counted(server, "coi_age") == [b"2", b"2"], "both are counted")
    duration, age = map(int, metric(server, "coi_age", b"max"))
    assert abs(duration - age) < 1_000_000
