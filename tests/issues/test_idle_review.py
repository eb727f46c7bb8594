# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What a review of IMAP sessions found."""

import time

import pytest
from harness.lmtp import Lmtp
from harness.mails import mail

FORMATS = ("maildir", "sdbox", "mdbox")


@pytest.mark.private
@pytest.mark.parametrize("mail_format", FORMATS)
def test_IDL_2_NOTIFY_of_the_selected_folder_lost_what_came_right_behind(make_server, mail_format):
    """For a second after it has told something, Dovecot 2.3 doesn't watch the folder."""
    server = make_server(mail_format=mail_format)
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    with server.imap(user) as client, Lmtp(server.lmtp_address) as lmtp:
        client.must("NOTIFY SET (SELECTED (MessageNew (UID) MessageExpunge))")
        count = client.exists("INBOX")
        # Before it is watched, just as it is told, and some time after.
        for pause in (0, 0, 1.3, 0, 0.1, 0.5, 1.0, 0, 1.5, 0):
            time.sleep(pause)
            lmtp.deliver([user], mail("one"))
            lmtp.deliver([user], mail("two"))
            count += 2
            client.read_until(f"* {count} EXISTS")
