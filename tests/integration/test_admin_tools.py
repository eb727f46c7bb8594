# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What docs/ tells an admin to do with Dovecot's own tools does what it says there."""

import pytest
from harness.config import by_dialect
from harness.mails import chat, mail
from harness.push import eventually
from harness.server import ROOT

pytestmark = pytest.mark.private

METRIC = "metric coi_chats {\n  filter = event=coi_chat_delivered\n" + by_dialect(
    v2_3="  group_by = filter\n}\n",
    v2_4="  group_by filter {\n    method discrete {\n    }\n  }\n}\n",
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


def chats_counted(server):
    dump = server.run("doveadm", "stats", "dump").stdout
    rows = [line.split(b"\t") for line in dump.splitlines()]
    return [row[2] for row in rows if row[0] == b"coi_chats_active"]


def test_an_event_is_sent_for_each_chat_mail(fresh_server, log):
    server = fresh_server(after=METRIC + "log_debug = event=coi_chat_delivered\n")
    user = server.coi_user("active")
    for make in (chat, mail, chat):
        server.deliver("lmtp", user, make(make.__name__ + server.next_name()))
    # Both come by way of other processes.
    found = "rule chat-version, filter active"
    eventually(lambda: log.count(server, found) == 2, "both are in the log")
    eventually(lambda: chats_counted(server) == [b"2"], "both are counted")
    assert log.count(server, found) == 2
