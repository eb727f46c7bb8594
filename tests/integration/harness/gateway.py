# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A gateway of Delta Chat's (CLI-4), and how its clients set their device tokens."""

import itertools

from .push import subscriptions
from .push_service import answer

PATH = "/notify"
_numbers = itertools.count(1)


class Gateway:
    def __init__(self, service):
        self.service = service
        service.default = answer(200)

    @property
    def settings(self):
        return (
            ("coi_push_deltachat", "yes"),
            ("coi_push_deltachat_gateway", self.service.origin + PATH),
        )

    def requests(self, token):
        return [one for one in self.service.of(PATH) if one.body == token.encode()]

    def wait(self, token, count=1):
        self.service.wait(
            lambda: len(self.requests(token)) >= count, f"{count} requests with {token[:40]}"
        )
        return self.requests(token)


def new_token(size=400):
    """As Delta Chat's core makes them, but for the octets: base64 behind a scheme."""
    token = f"openpgp:{next(_numbers):08}/+=="
    return token + "x" * (size - len(token))


def set_token(server, user, token):
    """As Delta Chat's core does: it doesn't wait to be asked for the literal."""
    with server.imap(user) as client:
        octets = token if isinstance(token, bytes) else token.encode()
        text = b'x SETMETADATA "INBOX" (/private/devicetoken {%d+}\r\n%s)\r\n'
        client.sock.sendall(text % (len(octets), octets))
        line = client.read_line()
        return line.split(b" ", 2)[1].decode()


def tokens(server, user):
    return [name for name in subscriptions(server, user) if name.startswith("deltachat-")]
