# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A user stopped the mail of others by what was in place of the metadata file.

A delivery reads that file. A FIFO has nobody at its other end, so LMTP waited, without an
end, and with it all to whom that mail went; /dev/zero never ends, so LMTP ran out of memory.
"""

import os

import pytest
from harness.lmtp import Lmtp
from harness.mails import chat
from harness.server import MAIL_UID


@pytest.mark.private
@pytest.mark.parametrize("what", ("FIFO", "device", "folder"))
@pytest.mark.parametrize("how", ("lmtp", "lda"))
def test_FIL_10_what_isnt_a_file_in_place_of_metadata(server, log, how, what):
    log.expect("coi: Can't read the user's metadata, .*dovecot-attributes isn't a file")
    victim, other = server.coi_user("active"), server.coi_user("active")
    hostile = server.coi_user("active")
    path = server.home(hostile) / "dovecot-attributes"
    path.unlink()
    if what == "FIFO":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    os.chown(path, MAIL_UID, MAIL_UID, follow_symlinks=False)

    if how == "lmtp":
        with Lmtp(server.lmtp_address) as lmtp:
            replies = lmtp.deliver([victim, hostile, other], chat("chat"))
        assert [reply[:3] for reply in replies] == ["250"] * 3
    else:
        for user in (victim, hostile, other):
            server.deliver("lda", user, chat("chat"))
    for user in (victim, other):
        assert {name: place for name, (place, _) in server.where(user).items()} == {
            "chat": server.chats
        }
