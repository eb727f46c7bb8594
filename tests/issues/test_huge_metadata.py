# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A user with very much metadata stopped the mail of others.

A delivery looks for an entry or two, and Dovecot's file dict reads all of its file into
memory for that. LMTP, which may have 256 MB, ended, and so did the delivery to everybody
else to whom that mail went: again and again, as the sender tried.
"""

import os

import pytest
from harness.lmtp import Lmtp
from harness.mails import chat


@pytest.mark.parametrize("how", ("lmtp", "lda"))
def test_FIL_10_more_metadata_than_memory(server, log, how):
    log.expect("coi: Can't read the user's metadata, .*dovecot-attributes is too large")
    victim, other = server.coi_user("active"), server.coi_user("active")
    hostile = server.coi_user("active")
    path = server.home(hostile) / "dovecot-attributes"
    # Zeroes without LF, which take no room on the disk.
    os.truncate(path, 300_000_000)

    if how == "lmtp":
        with Lmtp(server.lmtp_address) as lmtp:
            replies = lmtp.deliver([victim, hostile, other], chat("chat"))
        assert [reply[:3] for reply in replies] == ["250"] * 3
    else:
        for user in (victim, hostile, other):
            server.deliver("lda", user, chat("chat"))
    for user, folder in ((victim, server.chats), (hostile, "INBOX"), (other, server.chats)):
        os.truncate(server.home(user) / "dovecot-attributes", 0)
        assert {name: place for name, (place, _) in server.where(user).items()} == {"chat": folder}
