# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Setups for courses."""

from coialike.run import LAZY_EXPUNGE, crypt, spaces
from harness.config import by_dialect, plugins, settings

BIN = "namespace inbox {\n  mailbox Bin {\n    special_use = \\Trash\n  }\n}\n"
LAZY = plugins("lazy_expunge") + settings(**{LAZY_EXPUNGE: "Expunged"})
DETAIL = "recipient_delimiter = +\nlmtp_save_to_detail_mailbox = yes\n"


def where(mail_format, v2_3, v2_4):
    before = by_dialect(v2_3=f"mail_location = {mail_format}:~/{mail_format}:{v2_3}\n", v2_4=v2_4)
    return {"mail_format": mail_format, "before": before}


KINDS = {
    "maildir": {},
    "sdbox": {"mail_format": "sdbox", "sieve": True, "prefix": "INBOX/"},
    "mdbox": {"mail_format": "mdbox", "separator": "."},
    "sieve": {"sieve": True, "prefix": "INBOX.", "separator": "."},
    "detail": {"before": DETAIL},
    "fs": where("maildir", "LAYOUT=fs", "mailbox_list_layout = fs\n"),
    "index-layout": where("sdbox", "LAYOUT=index", "mailbox_list_layout = index\n"),
    "index-elsewhere": where("maildir", "INDEX=~/idx", "mail_index_path = ~/idx\n"),
    "index-in-memory": where("maildir", "INDEX=MEMORY", "mail_index_path = MEMORY\n"),
    "no-list-index": {"before": "mailbox_list_index = no\n"},
    "spaces": {"prefix": "INBOX/", "before": spaces()},
    "crypt": {"mail_format": "mdbox", "before": crypt()},
    "lazy": {"mail_format": "mdbox", "before": LAZY},
    "scattered": where(
        "maildir",
        "INDEX=~/idx:CONTROL=~/ctl:VOLATILEDIR=~/vol:UTF-8",
        "mail_index_path = ~/idx\nmail_control_path = ~/ctl\nmail_volatile_path = ~/vol\n"
        "mailbox_list_utf8 = yes\n",
    ),
}

# What stock Dovecot says, too: dovecot-lda -m with a folder that isn't there, where Sieve is
# used; a maildir below one that is renamed, where there was one; indexes that were removed.
EXPECTED = (
    "sieve: Execution of script .* failed with unsuccessful implicit keep"
    "|rename\\(.*\\) failed: Directory not empty"
)
