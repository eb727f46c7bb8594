# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""ENA-11: what was left behind where the user's metadata can't be written."""

import os
import shutil
from contextlib import contextmanager

import pytest
from harness.imap import Literal
from harness.mails import mail
from harness.server import MAIL_UID, ROOT

pytestmark = pytest.mark.private

ENABLED = f"{ROOT}/enabled"
FILTER = f"{ROOT}/message-filter"


@contextmanager
def unwritable(server, user):
    """The file isn't there, and can't be made; or is there, and can't be replaced."""
    home = server.home(user)
    os.chown(home, 0, 0)
    home.chmod(0o755)
    yield
    os.chown(home, MAIL_UID, MAIL_UID)


def lists(client):
    return client.folders(), client.folders("LSUB")


@pytest.fixture(params=["maildir", "sdbox"])
def server(request, make_server, log):
    log.expect("dovecot-attributes|dict")
    return make_server(mail_format=request.param)


@pytest.mark.parametrize("entries", [{ENABLED: "yes"}, {FILTER: "seen"}], ids=["enabled", "filter"])
def test_ENA_11_folders(server, entries):
    user = server.new_user()
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        before = lists(client)
        with unwritable(server, user):
            assert client.setmetadata(entries).status == "NO"
        assert lists(client) == before
        assert client.setmetadata(entries).ok
        assert server.chats in client.folders()
        assert server.chats in client.folders("LSUB")


def test_ENA_11_what_was_there_before_stays(server):
    """And isn't subscribed by it."""
    user = server.coi_user()
    with server.imap(user) as client:
        client.must(f'UNSUBSCRIBE "{server.chats}"')
        assert client.setmetadata({ENABLED: None}).ok
        client.must(f'APPEND "{server.chats}" ', Literal(mail("kept")))
        client.must(f'DELETE "{server.contacts}"')
        before = lists(client)
        with unwritable(server, user):
            assert client.setmetadata({ENABLED: "yes"}).status == "NO"
        assert lists(client) == before
        assert client.subjects(server.chats) == ["kept"]
        assert client.getmetadata(ENABLED) == {ENABLED: None}


def test_ENA_11_who_has_COI_keeps_it(server):
    """Though Chats, which was lost, is made and deleted again."""
    user = server.coi_user("active")
    (chats,) = [*server.home(user).rglob("*Chats")]
    shutil.rmtree(chats)
    with server.imap(user) as client, unwritable(server, user):
        assert client.setmetadata({ENABLED: "yes", FILTER: "seen"}).status == "NO"
        assert not chats.exists()
        assert client.getmetadata(ENABLED, FILTER) == {ENABLED: b"yes", FILTER: b"active"}
