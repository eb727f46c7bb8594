# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes of our own, found by a third review before the first release."""

import hashlib

import pytest
from harness.config import by_dialect, metadata_dict, settings
from harness.mails import chat, mail
from harness.server import ROOT
from test_fail_open import NO_STORAGE
from test_second_review import DETAIL, SENDER, block

pytestmark = pytest.mark.private


def dsync(source, user, target, how="backup"):
    return source.run(
        *("doveadm", how, "-u", user),
        # Without what doveadm tells its children about its own configuration.
        *("env", "-i", "PATH=/usr/sbin:/usr/bin:/bin"),
        *("doveadm", "-c", str(target.conf), "dsync-server", "-u", user),
    )


@pytest.mark.parametrize(
    "entry, value", [("enabled", "true"), ("mailbox-root", "Elsewhere"), ("foo", "bar")]
)
def test_CFG_6_an_entry_that_we_refuse_kept_dsync_from_copying_INBOX(make_server, entry, value):
    """What another server has stored is for it to judge, and no reason to leave mail there."""
    before = metadata_dict("dovecot-attributes") + "protocol imap {\n  imap_metadata = yes\n}\n"
    source, target = make_server(coi=False, before=before), make_server()
    user = source.new_user()
    with source.imap(user) as client:
        client.must(f'SETMETADATA "" ({ROOT}/{entry} "{value}")')
    for number in range(3):
        source.deliver("lmtp", user, mail(f"mail {number}"))
    for how in ("backup", "sync"):
        done = dsync(source, user, target, how)
        assert done.returncode == 0, done.stderr
        with target.imap(user) as client:
            assert client.subjects("INBOX") == ["mail 0", "mail 1", "mail 2"]
            assert client.getmetadata(f"{ROOT}/enabled") == {
                f"{ROOT}/enabled": b"true" if entry == "enabled" else None
            }


@pytest.mark.parametrize(
    "target",
    [{"after": settings(coi_mailbox_root="a*b")}, {"coi": False, "before": NO_STORAGE}],
    ids=["bad setting", "no dict"],
)
def test_dsync_to_a_server_that_has_no_place_for_metadata(make_server, log, target):
    """It copied no mail at all. Our own servers, at least, don't ask for that."""
    log.expect("COI is off, because")
    source, target = make_server(), make_server(**target)
    user = source.coi_user("active")
    source.deliver("lmtp", user, mail("mail"))
    dsync(source, user, target)
    with target.imap(user) as client:
        assert client.subjects("INBOX") == ["mail"]
