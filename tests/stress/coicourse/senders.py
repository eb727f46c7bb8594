# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Who writes, and how a client may write that down."""

import hashlib
from email.utils import parsedate_to_datetime

# As they are hashed; none is another one written differently.
ADDRESSES = (
    "sender@example.org",
    "jöhn@exämple.org",
    "with space@example.org",
    "o'neil+tag@sub.example.org",
    "dotted.name@example.org",
    "x@[192.0.2.1]",
)
# Some write more often.
OFTEN = (*ADDRESSES[:2] * 4, *ADDRESSES)
DATES = (
    "Sat, 04 Jan 2025 10:00:00 +0000",
    # the same instant, an earlier and a later one, by clocks that say otherwise
    "Sat, 04 Jan 2025 05:00:00 -0500",
    "Sat, 04 Jan 2025 11:00:00 +0200",
    "4 Jan 2025 08:00:00 -0500",
    "Fri, 1 Jan 1960 10:00:00 +0000",
    "Mon, 04 Jan 2060 10:00:00 +0000",
    "no date",
    None,
)


def hash_of(address):
    return hashlib.sha3_256(address.lower().encode()).hexdigest()


def written(rng, address):
    """The address in one of its forms."""
    local, _, domain = address.rpartition("@")
    cased = "".join(rng.choice((c.upper(), c)) for c in local)
    # A backslash in quotes takes what follows as it is.
    quoted = '"' + "".join(rng.choice(("\\", "")) * (c in "'s+ ") + c for c in cased) + '"'
    local = quoted if " " in local else rng.choice((local, cased, quoted))
    domain = rng.choice((domain, domain.upper() if domain.isascii() else domain))
    return local + rng.choice(("@", "@", " @ ")) + domain


NAMES = ("Bob", '"Builder, Bob"', "=?utf-8?q?J=C3=B6hn?=", '"a@b <c@d>"', "Bob (at work)", "Jöhn")


def phrase(rng, address):
    text = written(rng, address)
    return rng.choice(
        (
            text,
            f"<{text}>",
            f"{rng.choice(NAMES)} <{text}>",
            f"{rng.choice(NAMES)}\n <{text}>",
            f"{text} (Bob, <nobody@example.org>)",
            f"(Bob)\n\t{text}",
            f"<@relay.example.org:{text}>" if "[" not in text else text,
        )
    )


def from_fields(rng, senders):
    """The From field, or several, with these addresses."""
    texts = [phrase(rng, sender) for sender in senders]
    form = rng.randrange(6)
    if form == 0:
        return [f"From: Group: {', '.join(texts)};"]
    if form == 1:
        return [f"{rng.choice(('From', 'FROM', 'from'))}: {text}" for text in texts]
    if form == 2:
        return ["From:\n " + ",\n ".join(texts)]
    return ["From: " + ", ".join(texts)]


def contact(rng):
    """A mail as clients put into Contacts, or something like it."""
    chosen = [rng.choice(OFTEN) for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 3)))]
    content = rng.choice(("contact",) * 6 + ("\n contact", " contact ", "other", "", None))
    date = rng.choice(DATES)
    lines = [f"X-Padding: {'x' * rng.randrange(50)}"]
    if content is not None:
        lines.append(f"{rng.choice(('Chat-Content', 'CHAT-CONTENT'))}: {content}")
    if date is not None:
        lines.append(f"Date: {date}")
    for address in chosen:
        space = rng.choice((" ", "", "   ", "\n "))
        lines.append(f"COI-From-Hash:{space}{hash_of(address)}")
    lines += [f"COI-Blocked: {rng.choice(('', 'x', 'no'))}"] * rng.choice((0, 0, 1, 1, 1, 2))
    rng.shuffle(lines)
    lines.append(f"Subject: contact {rng.randrange(10**9)}")
    body = rng.choice(("BEGIN:VCARD\nEND:VCARD\n", "", "COI-Blocked: yes\nCOI-From-Hash: x\n"))
    return "\n".join([*lines, "", body]).encode()


class Contact:
    """What the header of a mail in Contacts says (BLK-1)."""

    def __init__(self, header):
        # Only what this needs of the grammar: fields, unfolded.
        self.fields = []
        for line in header.decode().replace("\r\n", "\n").split("\n"):
            if line[:1] in (" ", "\t"):
                name, value = self.fields[-1]
                self.fields[-1] = (name, value + line)
            elif line:
                name, _, value = line.partition(":")
                self.fields.append((name.strip().lower(), value))

    def values(self, name):
        return [value.strip() for field, value in self.fields if field == name]

    @property
    def is_contact(self):
        return self.values("chat-content")[:1] == ["contact"]

    @property
    def hashes(self):
        return self.values("coi-from-hash")

    @property
    def is_blocked(self):
        return bool(self.values("coi-blocked"))

    @property
    def date(self):
        """Docs say that none is the oldest; and nothing is older than 1970."""
        for value in self.values("date")[:1]:
            try:
                return max(parsedate_to_datetime(value).timestamp(), 0)
            except (TypeError, ValueError):
                return 0
        return 0


def blocked_hashes(headers):
    """headers are those of the mails in Contacts, by UID (BLK-4)."""
    latest = {}
    for uid, header in headers:
        one = Contact(header)
        if one.is_contact:
            for each in one.hashes:
                order = one.date, uid
                latest[each] = max(latest.get(each, (order, False)), (order, one.is_blocked))
    return {each for each, (_, blocked) in latest.items() if blocked}
