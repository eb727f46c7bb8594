# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What is known of one subscription, and which pushes it is to get."""


class Broken(AssertionError):
    """The server did what it must not."""


class Subscription:
    """One that was accepted, until it is replaced, removed, gone or too old."""

    def __init__(self, id, value, device, path, service):
        self.id = id
        self.value = value
        self.device = device
        self.path = path
        self.service = service
        self.text = None
        self.created = None
        self.validated = False
        # Past its time before it was validated.
        self.expired = False
        # The push service has said 404 or 410, or may have: who knows when it is heard.
        self.gone = False
        self.fading = False
        # The push service answers, but takes nothing.
        self.waits = False
        # Number of requests at the service when it ended.
        self.ended = None
        # Subjects that must be pushed, that may be, and that must not after the end.
        self.must = set()
        self.may = set()
        self.never = set()

    def __repr__(self):
        states = ("validated", "expired", "gone", "fading", "waits")
        return " ".join((self.id, self.path, *(word for word in states if vars(self)[word])))

    @property
    def is_live(self):
        return not self.expired and not self.gone

    def wants(self, kind, sender):
        """kind: "chat" or "mail"."""
        return (
            self.validated
            and self.is_live
            and self.value["msgtype"] in (kind, "all")
            and sender.lower() not in self.value.get("exclude_from", ())
        )

    def is_as(self, shown):
        """Is that what the server tells of it, the confirmation aside? A secret isn't told."""
        keys = {**self.value["resource"]["keys"], "auth": ""}
        want = {**self.value, "resource": {**self.value["resource"], "keys": keys}}
        more = ("created", "validated")
        return shown is not None and want == {k: v for k, v in shown.items() if k not in more}

    def answers(self):
        """The name of what its push service does."""
        return self.service.behaviours.get(self.path, [self.service.default])[0].__name__

    def takes(self):
        return self.answers() == "answer 201"

    def says_gone(self):
        return self.answers() in ("answer 404", "answer 410")

    def push(self, subject):
        """There is a mail that it wants."""
        self.fading = self.fading or self.says_gone()
        (self.may if self.fading else self.must).add(subject)

    def forgive(self, subjects):
        """These may be pushed or not."""
        self.may |= subjects
        self.must -= subjects

    def end(self, pending, is_sure):
        """pending(): what has not been pushed yet. It may be on its way, unless is_sure."""
        if self.ended is None:
            self.ended = len(self.service.requests)
            left = pending()
            self.must -= left
            (self.never if is_sure else self.may).update(left)
