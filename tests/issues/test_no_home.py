# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Users without a home logged errors, whether they had heard of COI or not."""

import os

import pytest
from harness.config import by_dialect
from harness.mails import chat, mail
from harness.server import MAIL_UID

pytestmark = pytest.mark.private


def deliver_all(server, user):
    for way in ("lmtp", "lda"):
        for make in (mail, chat):
            server.deliver(way, user, make(f"{make.__name__} by {way}"))


@pytest.mark.parametrize("enabled", [True, False])
def test_COI_with_a_dict_that_is_elsewhere(make_server, work_dir, log, enabled):
    """That there is no home is said only because we look at deliveries."""
    folder = work_dir / "elsewhere"
    if not folder.exists():
        folder.mkdir()
        os.chown(folder, MAIL_UID, MAIL_UID)
    server = make_server(
        home=False,
        before=by_dialect(
            v2_3=f"mail_attribute_dict = file:{folder}/%u\n",
            v2_4="mail_attribute {\n  dict file {\n    path = %s/%%{user}\n  }\n}\n" % folder,
        ),
    )
    user = server.coi_user("active") if enabled else server.new_user()
    deliver_all(server, user)
    folders = sorted(folder for folder, flags in server.where(user).values())
    assert folders == (["COI/Chats"] * 2 if enabled else ["INBOX"] * 2) + ["INBOX"] * 2
    assert log.problems() == []
