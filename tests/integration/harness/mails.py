# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mails that the tests deliver."""

import itertools

_numbers = itertools.count(1)


def mail(subject, *headers, body="Hello.\n", message_id=None):
    """A mail with a subject and further header lines. message_id="" leaves that header out."""
    if message_id is None:
        message_id = f"<mail-{next(_numbers)}@example.org>"
    lines = [
        "From: Sender <sender@example.org>",
        "To: recipient@example.org",
        "Date: Sat, 04 Jan 2025 10:00:00 +0000",
        f"Subject: {subject}",
    ]
    if message_id:
        lines.append(f"Message-ID: {message_id}")
    return "\n".join([*lines, *headers, "", body]).encode()


def chat(subject, *headers, **kwargs):
    """A chat mail by its Chat-Version."""
    return mail(subject, "Chat-Version: 1.0", *headers, **kwargs)


# The kinds of chat mail: DET-1, DET-2, DET-3, DET-5.
CHAT_KINDS = {
    "chat-version": lambda subject: chat(subject),
    "message-id": lambda subject: mail(
        subject, message_id=f"<chat$1{next(_numbers)}.2a@example.org>"
    ),
    "references": lambda subject: mail(
        subject, "References: <chat$abc.def@example.org> <x@example.org>"
    ),
    "group-id": lambda subject: mail(
        subject, message_id=f"<chat$group.GroupId_12-34.{next(_numbers)}@example.org>"
    ),
}
