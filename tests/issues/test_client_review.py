# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What a review from the side of the clients found."""

import pytest
from harness.config import by_dialect, dialect
from harness.server import ROOT

pytestmark = pytest.mark.private

ENABLED = f"{ROOT}/enabled"
LAYOUTS = {
    "maildir++": "",
    "fs": by_dialect(
        v2_3="mail_location = maildir:~/maildir:LAYOUT=fs\n", v2_4="mailbox_list_layout = fs\n"
    ),
    # a folder is a file, and what has others in it a directory
    "mbox": "mailbox_list_index = no\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ENA_9_Chats_created_with_a_separator_behind_it_enabled_nothing(make_server, layout):
    """Which says that it is to have others in it. Most layouts make it one for mail, too."""
    mail_format = "mbox" if layout == "mbox" else "maildir"
    server = make_server(before=LAYOUTS[layout], mail_format=mail_format)
    user = server.new_user()
    with server.imap(user) as client:
        # in 2.4 that is then one for mail, which as an mbox can't have others in it
        if layout != "mbox":
            client.must("CREATE COI/")
        client.must("CREATE COI/Chats/")
        made = server.chats in client.folders()
        assert made == (layout == "maildir++" or dialect() == "2.4")
        assert client.getmetadata(ENABLED) == {ENABLED: b"yes" if made else None}
        assert (server.contacts in client.folders()) == made
        assert (server.chats in client.folders("LSUB")) == made
