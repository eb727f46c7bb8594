# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A user stopped the mail of others by the file with the metadata.

A delivery looks for an entry or two, and Dovecot's file dict reads all of its file into
memory for that. With a large one, or a link to /dev/zero, LMTP ended, which may have 256 MB,
and with it the delivery to everybody else to whom that mail went: again and again, as the
sender tried. A FIFO has nobody at its other end, so LMTP waited.
"""

import os

import pytest
from harness.lmtp import Lmtp
from harness.mails import chat
from harness.server import MAIL_UID


def deliver_to_each(server, how, users):
    if how == "lmtp":
        with Lmtp(server.lmtp_address) as lmtp:
            replies = lmtp.deliver(users, chat("chat"))
        assert [reply[:3] for reply in replies] == ["250"] * len(users)
    else:
        for user in users:
            server.deliver("lda", user, chat("chat"))


def places(server, user):
    return {subject: folder for subject, (folder, _) in server.where(user).items()}


@pytest.mark.parametrize("how", ("lmtp", "lda"))
def test_FIL_10_more_metadata_than_memory(server, log, how):
    log.expect("coi: Can't read the user's metadata, .*dovecot-attributes is too large")
    victim, hostile, other = (server.coi_user("active") for _ in range(3))
    # who has no contacts, and so is asked for metadata in another place
    newcomer = server.new_user()
    server.write(newcomer, "dovecot-attributes", "")
    # Zeroes without LF, which take no room on the disk.
    for user in (hostile, newcomer):
        os.truncate(server.home(user) / "dovecot-attributes", 300_000_000)
    folders = {victim: server.chats, hostile: "INBOX", newcomer: "INBOX", other: server.chats}
    deliver_to_each(server, how, list(folders))
    for user, folder in folders.items():
        os.truncate(server.home(user) / "dovecot-attributes", 0)
        assert places(server, user) == {"chat": folder}


@pytest.mark.private
@pytest.mark.parametrize("what", ("FIFO", "device", "folder"))
@pytest.mark.parametrize("how", ("lmtp", "lda"))
def test_FIL_10_what_isnt_a_file_in_place_of_metadata(server, log, how, what):
    log.expect("coi: Can't read the user's metadata, .*dovecot-attributes isn't a file")
    victim, hostile, other = (server.coi_user("active") for _ in range(3))
    path = server.home(hostile) / "dovecot-attributes"
    path.unlink()
    if what == "FIFO":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    os.chown(path, MAIL_UID, MAIL_UID, follow_symlinks=False)
    deliver_to_each(server, how, [victim, hostile, other])
    for user in (victim, other):
        assert places(server, user) == {"chat": server.chats}
    path.rmdir() if what == "folder" else path.unlink()
    assert places(server, hostile) == {"chat": "INBOX"}
