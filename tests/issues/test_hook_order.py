# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Plugins that are loaded when a user is looked up, after those of everybody."""

import pytest
from harness.config import by_dialect, passwd_file
from harness.mails import chat
from harness.server import MAIL_UID

pytestmark = pytest.mark.private

WITH_SIEVE = by_dialect(
    v2_3="userdb_mail_plugins=coi,sieve", v2_4="userdb_mail_plugins/sieve=yes"
)


@pytest.mark.parametrize("way", ["lmtp", "lda"])
def test_FIL_2_FIL_5_DET_6_where_only_the_userdb_gives_Sieve_to_a_user(
    fresh_server, work_dir, way
):
    """Its hook came last then, and calls no other: for nobody's mail was ours called."""
    passwds = work_dir / f"passwd-hooks-{way}"
    passwds.mkdir()
    path = f"{passwds}/{by_dialect(v2_3='%s', v2_4='%{protocol}')}"
    server = fresh_server(userdb=passwd_file(path))
    # The last one has it. The same process may have served any number of others before.
    users = [server.next_name() for _ in range(6)]
    for service, more in (("imap", ""), ("lmtp", WITH_SIEVE), ("lda", WITH_SIEVE)):
        lines = [
            f"{user}::{MAIL_UID}:{MAIL_UID}::{server.homes}/{user}::{fields}\n"
            for user, fields in zip(users, [""] * 5 + [more])
        ]
        (passwds / service).write_text("".join(lines))
    for user in users:
        server.coi_user("active", user)
    server.write(users[-1], ".dovecot.sieve", 'require "imap4flags"; addflag "Mine";\n')
    if way == "lmtp":
        for recipients in (users[:-1], users, users[::-1]):
            text = chat(f"to {len(recipients)}, {recipients[0]} first")
            replies = server.lmtp(*recipients, mail=text)
            assert all(reply.startswith("250") for reply in replies), replies
    else:
        for user in users:
            server.deliver("lda", user, chat(f"to {user}"))
    for user in users:
        found = list(server.where(user).values())
        assert {folder for folder, _ in found} == {server.chats}
        assert all("$Chat" in flags for _, flags in found)
    # Sieve has seen it, too.
    assert all("Mine" in flags for _, flags in server.where(users[-1]).values())
