# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes that random courses of folder operations and deliveries have found."""

import shutil

import pytest
from harness.mails import chat

pytestmark = pytest.mark.private


@pytest.mark.parametrize("folder", ["Chats", "Contacts"])
def test_FIL_2_FIL_9_a_folder_of_ours_that_is_not_there_is_no_choice(make_server, folder):
    """Dovecot takes INBOX for it, and then COI's rules are those of INBOX."""
    server = make_server()
    user = server.coi_user("active")
    shutil.rmtree(server.home(user) / f"maildir/.COI.{folder}")
    done = server.lda(user, chat("chat"), "-m", server.folder("COI", folder))
    assert done.returncode == 0, done
    assert server.where(user)["chat"] == (server.chats, {"$Chat"})
