# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Dovecot hid that a folder of ours exists, and so COI couldn't be enabled.

Where a folder that is to be created exists, it looks for others that its list index doesn't
have yet. If one of these can't be opened, that takes the place of the error. The mix met it
with a folder that was deleted in this moment, in two of ninety runs on sdbox.
"""

import os

import pytest
from harness.server import MAIL_UID, ROOT

pytestmark = pytest.mark.private


# The directory of a folder, which some other program has made, and which isn't one yet.
NEW = {"sdbox": "sdbox/mailboxes/New", "mdbox": "mdbox/mailboxes/New"}


@pytest.fixture(params=NEW)
def server(request, make_server):
    return make_server(mail_format=request.param)


def have_the_list_read_anew(server, user, client):
    """By the next command that looks; and then one folder can't be opened."""
    client.must("CREATE Old")
    directory = server.home(user) / NEW[server.settings.mail_format]
    directory.mkdir()
    os.chown(directory, MAIL_UID, MAIL_UID)
    client.must("RENAME Old Older")


def is_enabled(client):
    return client.getmetadata(f"{ROOT}/enabled") == {f"{ROOT}/enabled": b"yes"}


def test_ENA_2_enabled_while_the_folders_exist(server):
    user = server.coi_user("none")
    with server.imap(user) as client:
        client.setmetadata({f"{ROOT}/enabled": None})
        have_the_list_read_anew(server, user, client)
        response = client.setmetadata({f"{ROOT}/enabled": "yes"})
        assert response.ok, response
        assert is_enabled(client)


def test_ENA_9_Chats_created_while_Contacts_exists(server):
    user = server.coi_user("none")
    with server.imap(user) as client:
        client.setmetadata({f"{ROOT}/enabled": None})
        client.must(f'DELETE "{server.chats}"')
        have_the_list_read_anew(server, user, client)
        client.must(f'CREATE "{server.chats}"')
        assert is_enabled(client)
