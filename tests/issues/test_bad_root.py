# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""With a coi_mailbox_root that the mailbox format refuses, LMTP crashed at each mail of every
user, whether they had heard of COI or not."""

import pytest
from harness.config import settings
from harness.mails import chat, mail
from harness.push import eventually
from harness.server import ROOT

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


@pytest.mark.parametrize(
    ("root", "separator", "mail_format"),
    [
        ("a.b", "/", "maildir"),
        ("a/b", ".", "maildir"),
        ("/abs", "/", "sdbox"),
        ("/abs", ".", "sdbox"),
        ("x/", "/", "sdbox"),
        ("x/", ".", "sdbox"),
        ("a//b", "/", "maildir"),
        ("~x", "/", "sdbox"),
        ("a/../b", "/", "sdbox"),
    ],
)
def test_CFG_1_a_client_was_told_of_a_server_bug(make_server, log, root, separator, mail_format):
    """And the log did not say what is wrong."""
    log.expect("coi: COI is off, because its settings can't be used: coi_mailbox_root")
    server = make_server(
        mail_format=mail_format, separator=separator, after=settings(coi_mailbox_root=root)
    )
    with server.imap(server.new_user()) as client:
        response = client.setmetadata({f"{ROOT}/enabled": "yes"})
        assert (response.status, "SERVERBUG" in response.text) == ("NO", False)
    # It comes by way of another process.
    eventually(lambda: "because its settings can't be used" in server.log_text(), "it is logged")


@pytest.mark.parametrize(("root", "separator"), [("a.b", "/"), ("a/b", "/"), ("a.b", ".")])
def test_CFG_1_a_root_that_the_format_takes(make_server, root, separator):
    layout = "sdbox" if separator == "/" else "maildir"
    server = make_server(
        mail_format=layout, separator=separator, after=settings(coi_mailbox_root=root)
    )
    user = server.coi_user("active")
    server.deliver("lmtp", user, chat("a chat"))
    with server.imap(user) as client:
        assert client.subjects(f"{root}{separator}Chats") == ["a chat"]
