# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""ENA-1, ENA-2, ENA-3, ENA-4, ENA-5: enabling and disabling."""

import pytest
from harness.imap import Literal
from harness.lmtp import Lmtp
from harness.mails import chat, mail
from harness.server import ROOT

ENABLED = f"{ROOT}/enabled"
FILTER = f"{ROOT}/message-filter"


def test_ENA_1_the_folders_exist_when_the_answer_comes(server):
    with server.imap(server.new_user()) as client:
        assert client.folders() == ["INBOX"]
        assert client.setmetadata({ENABLED: "yes"}).ok
        assert {server.chats, server.contacts} <= set(client.folders())
        assert client.exists(server.chats) == client.exists(server.contacts) == 0


def test_ENA_1_folders_that_are_there_are_kept(server):
    user = server.new_user()
    with server.imap(user) as client:
        # Chats last: to create it enables COI, and that makes Contacts.
        for folder in (server.contacts, server.chats):
            client.must(f'CREATE "{folder}"')
            client.must(f'APPEND "{folder}" ', Literal(mail(f"kept in {folder}")))
        assert client.setmetadata({ENABLED: "yes"}).ok
    found = server.where(user)
    for folder in (server.chats, server.contacts):
        assert found[f"kept in {folder}"][0] == folder


def test_ENA_1_a_second_yes_makes_Contacts_again(server):
    with server.imap(server.coi_user()) as client:
        client.must(f'DELETE "{server.contacts}"')
        assert client.setmetadata({ENABLED: "yes"}).ok
        assert server.contacts in client.folders()


def test_ENA_2_only_Chats_is_subscribed(server):
    with server.imap(server.coi_user()) as client:
        subscribed = client.folders("LSUB")
        assert server.chats in subscribed
        assert server.contacts not in subscribed


def test_ENA_2_what_the_user_has_unsubscribed_stays_so(server):
    """A client may say again and again that it wants COI."""
    with server.imap(server.coi_user()) as client:
        client.must(f'UNSUBSCRIBE "{server.chats}"')
        assert client.setmetadata({f"{ROOT}/enabled": "yes"}).ok
        assert server.chats not in client.folders("LSUB")


@pytest.mark.private
@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox", "mbox"])
def test_ENA_1_ENA_2_in_every_mail_format(make_server, mail_format):
    server = make_server(mail_format=mail_format, prefix="INBOX/")
    with server.imap(server.coi_user()) as client:
        assert {"INBOX/COI/Chats", "INBOX/COI/Contacts"} <= set(client.folders())
        assert client.folders("LSUB") == ["INBOX/COI/Chats"]


def test_ENA_3_a_delivery_session_already_open_obeys_at_once(server):
    user = server.new_user()
    with Lmtp(server.lmtp_address) as lmtp, server.imap(user) as client:
        lmtp.deliver([user], chat("before"))
        assert client.setmetadata({ENABLED: "yes", FILTER: "active"}).ok
        lmtp.deliver([user], chat("active"))
        assert client.setmetadata({FILTER: None}).ok
        lmtp.deliver([user], chat("default"))
        assert client.setmetadata({ENABLED: None}).ok
        lmtp.deliver([user], chat("disabled"))
    assert server.where(user) == {
        "before": ("INBOX", set()),
        "active": (server.chats, {"$Chat"}),
        "default": ("INBOX", {"$Chat"}),
        "disabled": ("INBOX", set()),
    }


def test_ENA_3_an_IMAP_session_already_open_obeys_at_once(server):
    user = server.coi_user()
    for subject in ("one", "two", "three"):
        server.deliver("lmtp", user, chat(subject))
    with server.imap(user) as reader, server.imap(user) as setter:
        reader.must("SELECT INBOX")
        reader.store("1", "+FLAGS", "\\Seen")
        assert setter.setmetadata({FILTER: "seen"}).ok
        reader.store("2", "+FLAGS", "\\Seen")
        reader.must("NOOP")
        assert setter.setmetadata({FILTER: "none"}).ok
        reader.store("2", "+FLAGS", "\\Seen")
    with server.imap(user) as client:
        assert client.subjects("INBOX") == ["one", "three"]
        assert client.subjects(server.chats) == ["two"]


def test_ENA_3_a_session_that_has_found_no_metadata_before(server):
    with server.imap(server.new_user()) as client:
        for number in range(2):
            text = chat(f"chat {number}").replace(b"\n", b"\r\n")
            client.must("APPEND INBOX ($Chat) ", Literal(text))
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "\\Seen")
        assert client.setmetadata({ENABLED: "yes", FILTER: "seen"}).ok
        client.store("2", "+FLAGS", "\\Seen")
        assert client.subjects(server.chats) == ["chat 1"]


def test_ENA_3_the_session_that_sets_the_filter_obeys_at_once(server):
    user = server.coi_user()
    server.deliver("lmtp", user, chat("one"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        assert client.setmetadata({FILTER: "seen"}).ok
        client.store("1", "+FLAGS", "\\Seen")
    assert server.where(user)["one"] == (server.chats, {"$Chat", "\\Seen"})


def test_ENA_4_disabling_stops_filtering_and_marking_and_keeps_the_rest(server):
    user = server.coi_user("active")
    server.deliver("lmtp", user, chat("before"))
    with server.imap(user) as client:
        folders = client.folders()
        assert client.setmetadata({ENABLED: None}).ok
        assert client.folders() == folders
    server.deliver("lmtp", user, chat("after"))
    assert server.where(user) == {
        "before": (server.chats, {"$Chat"}),
        "after": ("INBOX", set()),
    }


def test_ENA_4_disabling_stops_the_move_of_seen_chats(server):
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("one"))
    with server.imap(user) as client:
        assert client.setmetadata({ENABLED: None}).ok
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "\\Seen")
    assert server.where(user)["one"] == ("INBOX", {"$Chat", "\\Seen"})


@pytest.mark.parametrize("value", ["active", "seen"])
def test_ENA_5_a_filter_makes_sure_of_Chats(server, value):
    with server.imap(server.new_user()) as client:
        assert client.setmetadata({FILTER: value}).ok
        assert server.chats in client.folders()
        assert server.chats in client.folders("LSUB")


@pytest.mark.parametrize("value", ["active", "seen"])
def test_ENA_5_a_filter_alone_enables_nothing(server, value):
    user = server.new_user()
    with server.imap(user) as client:
        assert client.setmetadata({FILTER: value}).ok
        assert client.getmetadata(ENABLED) == {ENABLED: None}
    server.deliver("lmtp", user, chat("one"))
    assert server.where(user)["one"] == ("INBOX", set())


def test_ENA_5_the_filter_none_makes_no_folder(server):
    with server.imap(server.new_user()) as client:
        assert client.setmetadata({FILTER: "none"}).ok
        assert client.folders() == ["INBOX"]


@pytest.mark.private
@pytest.mark.parametrize("folder", ["Chats", "Contacts"])
def test_ENA_1_no_folder_no_enabling(make_server, log, folder):
    """One that cannot be made is a NO, and nothing is changed."""
    server = make_server()
    user = server.new_user()
    server.write(user, f"maildir/.COI.{folder}", "in the way")
    log.expect("COI|coi: ")
    with server.imap(user) as client:
        assert client.setmetadata({ENABLED: "yes"}).status == "NO"
        assert client.getmetadata(ENABLED) == {ENABLED: None}
