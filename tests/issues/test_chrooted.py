# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mail processes that Dovecot chroots to where the users' mail is, and the modules aren't."""

import pytest
from harness.config import by_dialect, passwd_file
from harness.mails import chat, mail
from harness.server import MAIL_UID, ROOT

PLACES = {
    "userdb": ("/{user}", "userdb_chroot={homes}"),
    "home": ("{homes}/./{user}", ""),
}


@pytest.mark.private
@pytest.mark.parametrize("place", PLACES)
def test_CAP_3_FIL_7_all_is_as_without_the_plugin(fresh_server, log, work_dir, place):
    """COI was announced and couldn't be enabled, and each delivery logged an error."""
    passwd = work_dir / f"passwd-chrooted-{place}"
    passwd.write_text("")
    server = fresh_server(
        mail_format="sdbox",
        userdb=passwd_file(passwd),
        after=f"valid_chroot_dirs = {work_dir}\n"
        + by_dialect(v2_3="mail_location = sdbox:~/sdbox\n", v2_4="mail_path = ~/sdbox\n"),
    )
    # In 2.4 LMTP is chrooted, too, and misses its working directory. So it is with stock Dovecot.
    log.expect(r"chdir\(.*\) failed")
    user = server.new_user()
    home, field = (text.format(homes=server.homes, user=user) for text in PLACES[place])
    passwd.write_text(f"{user}::{MAIL_UID}:{MAIL_UID}::{home}::{field}\n")
    server.deliver("lmtp", user, mail("mail by LMTP"))
    server.deliver("lda", user, chat("chat by LDA"))
    with server.imap(user) as client:
        assert not {"COI", "WEBPUSH", "METADATA-SERVER"} & set(client.capabilities())
        assert client.setmetadata({f"{ROOT}/enabled": "yes"}).status != "OK"
        client.must(f"CREATE {server.chats}")
        client.must("SELECT INBOX")
        client.store("1:*", "+FLAGS", "\\Seen")
    server.deliver("lmtp", user, chat("chat by LMTP"))
    assert server.where(user) == {
        "mail by LMTP": ("INBOX", {"\\Seen"}),
        "chat by LDA": ("INBOX", {"\\Seen"}),
        "chat by LMTP": ("INBOX", set()),
    }
