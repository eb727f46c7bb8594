# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes that the first implementation of COI made, each as it showed there.

The rules themselves are tested in tests/integration; here stands what once
went wrong, so that it never does again.
"""

import threading

import pytest
from harness.config import plugins, quota
from harness.lmtp import Lmtp
from harness.mails import chat, mail
from harness.server import ROOT

ENABLED = f"{ROOT}/enabled"
FILTER = f"{ROOT}/message-filter"
SEEN = "\\Seen"


def test_crash_message_filter_NIL_killed_the_session(server):
    user = server.coi_user("active")
    with server.imap(user) as client:
        for _ in range(2):
            assert client.setmetadata({FILTER: None}).ok
        client.must("NOOP")


def test_wrong_people_the_second_recipients_copy_was_marked_too(server):
    with_coi, without = server.coi_user("active"), server.new_user()
    for number, recipients in enumerate([(with_coi, without), (without, with_coi)]):
        server.lmtp(*recipients, mail=chat(f"chat {number}"))
    assert {flags == set() for _, flags in server.where(without).values()} == {True}


@pytest.mark.private
def test_quota_a_full_mailbox_was_a_451_for_days(make_server, log):
    server = make_server(before=quota())
    user = server.coi_user("active")
    log.expect("[Qq]uota")
    (reply,) = server.lmtp(user, mail=chat("chat", body="0123456789\n" * 1000))
    assert reply.startswith("552")


@pytest.mark.private
def test_no_dict_every_chat_mail_was_a_451(make_server, log):
    server = make_server(coi=False, before=plugins("coi"))
    user = server.new_user()
    log.expect("coi: ")
    (reply,) = server.lmtp(user, mail=chat("chat"))
    assert reply.startswith("250")


def test_stale_a_running_session_did_not_see_a_changed_filter(server):
    user = server.coi_user("none")
    with server.imap(user) as reader, server.imap(user) as changer, Lmtp(
        server.lmtp_address
    ) as lmtp:
        lmtp.deliver([user], chat("1 in INBOX"))
        reader.must("SELECT INBOX")
        assert changer.setmetadata({FILTER: "seen"}).ok
        reader.store("1", "+FLAGS", SEEN)
        assert changer.setmetadata({FILTER: "active"}).ok
        lmtp.deliver([user], chat("2 straight to Chats"))
        assert changer.setmetadata({ENABLED: None}).ok
        lmtp.deliver([user], chat("3 as without COI"))
    folders = [folder for _, (folder, _) in sorted(server.where(user).items())]
    assert folders == [server.chats, server.chats, "INBOX"]


@pytest.mark.private
def test_half_done_a_rename_that_failed_had_disabled_COI(make_server):
    server = make_server()
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must("CREATE Trash/Chats")
        assert not client.command(f'RENAME "{server.chats}" Trash/Chats').ok
        assert client.getmetadata(ENABLED) == {ENABLED: b"yes"}


def test_half_done_a_rename_of_the_parent_slipped_past(server):
    user = server.coi_user("active")
    with server.imap(user) as client:
        assert not client.command(f'RENAME "{server.folder("COI")}" Elsewhere').ok
        assert server.chats in client.folders()


def test_half_done_a_created_Chats_was_not_subscribed(server):
    with server.imap(server.new_user()) as client:
        client.must(f'CREATE "{server.chats}"')
        assert client.folders("LSUB") == [server.chats]


def test_doubled_mail_each_client_made_a_copy(server):
    count, clients = 40, 4
    user = server.coi_user("seen")
    for number in range(count):
        server.deliver("lmtp", user, chat(f"chat {number:02}"))
    barrier, failures = threading.Barrier(clients), []

    def read_all():
        try:
            with server.imap(user) as client:
                client.must("SELECT INBOX")
                barrier.wait()
                client.command("STORE 1:* +FLAGS (\\Seen)")
        except Exception as error:  # a thread has no other way to tell
            failures.append(error)

    threads = [threading.Thread(target=read_all) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with server.imap(user) as client:
        assert client.subjects(server.chats) == [f"chat {number:02}" for number in range(count)]


def test_flags_a_replacement_lost_Chat_on_the_way(server):
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "FLAGS", SEEN)
    assert server.where(user)["chat"] == (server.chats, {"$Chat", SEEN})


def test_flags_Chat_and_Seen_in_one_command_did_not_move(server):
    user = server.coi_user("seen")
    server.deliver("lmtp", user, mail("mail"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "$Chat \\Seen")
    assert server.where(user)["mail"] == (server.chats, {"$Chat", SEEN})


@pytest.mark.private
def test_Sieve_active_skipped_the_users_script(make_server):
    server = make_server(sieve=True)
    user = server.coi_user("active")
    server.write(user, ".dovecot.sieve", 'require "imap4flags"; addflag "\\\\Flagged";')
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user)["chat"] == (server.chats, {"$Chat", "\\Flagged"})


@pytest.mark.private
def test_Sieve_active_skipped_the_detail_of_an_address(make_server):
    detail = "lmtp_save_to_detail_mailbox = yes\nrecipient_delimiter = +\n"
    server = make_server(before=detail + "lda_mailbox_autocreate = yes\n")
    user = server.coi_user("active")
    server.lmtp(f"{user}+Work", mail=chat("chat"))
    assert server.where(user)["chat"][0] == "Work"
