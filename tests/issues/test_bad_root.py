# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""With a coi_mailbox_root that the mailbox format refuses, LMTP crashed at each mail of every
user, whether they had heard of COI or not."""

import pytest
from harness.config import settings
from harness.mails import chat, mail

pytestmark = pytest.mark.private


@pytest.mark.parametrize("mail_format", ["maildir", "sdbox"])
@pytest.mark.parametrize("root", ["~x", "~/x", "../x", "./x", "a/../b", "a.b"])
def test_FIL_6_mail_is_delivered_all_the_same(make_server, log, root, mail_format):
    log.expect("coi: COI is off, because its settings can't be used")
    server = make_server(mail_format=mail_format, after=settings(coi_mailbox_root=root))
    user = server.new_user()
    server.deliver("lmtp", user, mail("ordinary"))
    server.deliver("lmtp", user, chat("a chat"))
    with server.imap(user) as client:
        assert client.subjects("INBOX") == ["a chat", "ordinary"]
