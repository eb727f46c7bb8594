# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes of our own where mail is stored in ways that few choose."""

import pytest
from harness.config import by_dialect, locked_config, metadata_dict, plugins, settings
from harness.mails import chat
from harness.push import eventually
from test_contacts_review import FORMATS
from test_mail_review import EDIT, EDITHEADER

pytestmark = pytest.mark.private

FOLDER_KEYS = plugins("mail_crypt") + by_dialect(
    v2_3=settings(mail_crypt_curve="secp521r1", mail_crypt_save_version="2"),
    v2_4="crypt_user_key_curve = secp521r1\n",
)


def test_FIL_3_a_purge_left_what_a_move_had_encrypted_anew(make_server):
    """A copy for the key of another folder is no reference in an mdbox, and we counted it."""
    server = make_server(
        mail_format="mdbox", before=metadata_dict("dovecot-attributes"), after=FOLDER_KEYS
    )
    user = server.coi_user("seen")
    size = 100_000
    for number in range(3):
        server.deliver("lmtp", user, chat(f"chat {number}", body="x" * 70 * (size // 70)))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.must("STORE 1:* +FLAGS (\\Seen)")
        assert client.subjects(server.chats) == ["chat 0", "chat 1", "chat 2"]
    server.doveadm("purge", "-u", user)
    storage = server.home(user) / "mdbox/storage"
    assert 3 * size < sum(path.stat().st_size for path in storage.glob("m.*")) < 4 * size
    with server.imap(user) as client:
        client.must(f'SELECT "{server.chats}"')
        assert client.must("FETCH 1:* BODY.PEEK[]").ok


@pytest.mark.parametrize("mail_format", FORMATS)
def test_MSG_4_what_a_script_had_edited_was_pushed_without_its_text_where_it_is_locked(
    fresh_server, subscriber, log, mail_format
):
    """The header was that of Dovecot's cache, and the log had an error for each mail."""
    before, after, given = locked_config()
    server = fresh_server(
        sieve=True, mail_format=mail_format, before=before, after=after + EDITHEADER
    )
    user = server.new_user()
    command = ("mailbox", "cryptokey", "generate", "-u", user, "-U", "-f")
    assert server.run("doveadm", "-o", given, *command).returncode == 0
    device = subscriber(server, server.coi_user("active", name=user)).subscribe()
    server.write(user, ".dovecot.sieve", EDIT)
    # Who makes a folder's key has it.
    server.deliver("lda", user, chat("first"))
    server.deliver("lda", user, chat("as it came"))
    pushes = {push.payload["subject"]: push.payload for push in device.pushes(2)}
    assert pushes["as it came"]["content"].strip() == "Hello."
    eventually(lambda: log.count(server, "coi: .* so what came is pushed: ") == 1, "it is logged")
    with server.imap(user) as client:
        client.must(f'EXAMINE "{server.chats}"')
        text = b"".join(client.must("FETCH 1:* BODY.PEEK[]").untagged)
        assert text.count(b"Subject: as it is now") == text.count(b"Hello.") == 2
