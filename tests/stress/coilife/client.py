# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""One user: what is done, what must come of it, and what must be listed after it."""

import json
import os
import random
import re
import threading
import time

from harness.imap import metadata
from harness.mails import chat, mail
from harness.push import SUBSCRIPTIONS, Device, Push, b64, eventually
from harness.push_service import HOSTILE, answer
from harness.server import MAIL_UID

from .subscription import Broken, Subscription

LIMIT = 3
SENDERS = ("sender@example.org", "Boss@Example.org")
# After five failures in a row a user may not register for a while.
MOST_FAILURES = 3
# Nothing takes longer, but for what has failed before.
PATIENCE = 60
# How Dovecot's own dict calls what an entry below SUBSCRIPTIONS is.
KEY = "vendor/vendor.dovecot/pvt/server/vendor/vendor.dovecot/webpush/subscriptions/{}\n"


# What the service does, or what is made of the value, and the code of the refusal.
REFUSED = {
    **{str(status): (answer(status), "[CANNOT]") for status in (301, 400, 403, 404, 410, 413)},
    **{str(status): (answer(status), "[UNAVAILABLE]") for status in (429, 500, 503)},
    **{name: (HOSTILE[name], "[UNAVAILABLE]") for name in ("reset", "close", "garbage")},
}
WRONG = {
    "JSON": (lambda text: text[:-1], "[CANNOT]"),
    "msgtype": (lambda text: text.replace('"msgtype": "', '"msgtype": "x'), "[CANNOT]"),
    "size": (lambda text: text + " " * 9000, "[METADATA MAXSIZE 8192]"),
}
# A push that meets one of these waits for long, or is dropped.
LASTING = {"301", "400", "403", "413"}
# It isn't to take longer than a test may.
SLOW = tuple(answer(status, "Retry-After: 1") for status in (429, 500, 503))


class Client:
    """run: tells whether coi-push is there. service: all of this user's devices are at it."""

    def __init__(self, run, number, service, seed):
        self.run = run
        self.server = run.server
        self.service = service
        self.random = random.Random(seed)
        self.is_coi = number % 2 == 0
        self.user = self.server.coi_user() if self.is_coi else self.server.new_user()
        self.ids = [f"device-{number}-{i}-xxx" for i in range(LIMIT + 2)]
        # Those that are stored, by id, and whatever there has been.
        self.stored = {}
        self.all = []
        self.devices = {}
        self.pushes = {}
        self.secrets = set()
        self.sessions = {}
        self.story = []
        self.failures = 0
        self.mails = 0
        self.is_unwritable = False

    def say(self, *words):
        self.story.append(" ".join(map(str, words)))

    def check(self, good, *words):
        if not good:
            raise Broken(" ".join(map(str, (self.user, *words))))

    # -- what the server is told and tells --

    def session(self):
        """One of two, or a new one."""
        number = self.random.randrange(3)
        if number not in self.sessions or number == 2:
            self.close_session(number)
            self.sessions[number] = self.server.imap(self.user)
        return self.sessions[number]

    def close_session(self, number):
        if number in self.sessions:
            self.sessions.pop(number).close()

    def close(self):
        for number in list(self.sessions):
            self.close_session(number)

    def send(self, entries, session=None):
        named = {
            f"{SUBSCRIPTIONS}/{id}": json.dumps(value) if isinstance(value, dict) else value
            for id, value in entries.items()
        }
        return (session or self.session()).setmetadata(named)

    def listing(self):
        response = self.session().command(f'GETMETADATA (DEPTH 1) "" ({SUBSCRIPTIONS})')
        self.check(response.ok, "listing", response)
        for line in response.untagged:
            self.check(not any(s.encode() in line for s in self.secrets), "a secret", line)
        return {
            name.rpartition("/")[2]: json.loads(value)
            for name, value in metadata(response).items()
            if value is not None and name != SUBSCRIPTIONS
        }

    def compare(self):
        """Those that are listed are those that should be."""
        listed = self.listing()
        for one in self.live().values():
            if one.fading and one.id not in listed:
                self.is_gone(one)
        live = self.live()
        self.check(set(listed) == set(live), "listed", sorted(listed), "and not", live)
        for id, shown in listed.items():
            one = live[id]
            one.created = one.created or shown["created"]
            self.check(one.is_as(shown), "shown", shown, "and not", one.value)
            self.check(shown["validated"] == one.validated, "confirmed?", shown, one)
            self.check(shown["created"] == one.created, "created", shown, one.created)

    # -- what has been pushed --

    def read(self, request):
        """The device that a request is for, and what it says: a subject or a validation."""
        if request.number not in self.pushes:
            for device in self.devices.get(request.path, ()):
                try:
                    payload = Push(request, device.decrypt(request.body)).payload
                except Exception:  # it is for another one
                    continue
                text = payload.get("validation") or payload["subject"]
                self.pushes[request.number] = device, text
                break
            else:
                raise Broken(f"{self.user}: no device can read a push: {request}")
        return self.pushes[request.number]

    def mail_pushes(self, path=None):
        requests = self.service.of(path) if path else list(self.service.requests)
        return [each for each in requests if each.header("WebPush-Validation") is None]

    def validations(self, path):
        requests = self.service.of(path)
        return [self.read(each)[1] for each in requests if each.all("WebPush-Validation")]

    def pending(self, one):
        taken = [each for each in self.mail_pushes(one.path) if each.behaviour == "answer 201"]
        return one.must - {self.read(each)[1] for each in taken}

    def await_pushes(self, seconds=PATIENCE):
        """Those that nothing is in the way of."""
        waiting = [one for one in self.live().values() if one.takes() and not one.waits]
        deadline = time.monotonic() + seconds
        while left := [(one, self.pending(one)) for one in waiting if self.pending(one)]:
            self.check(time.monotonic() < deadline, f"not pushed in {seconds} s:", left)
            time.sleep(0.02)

    def is_queued(self):
        done = self.server.run("doveadm", "-f", "json", "coi", "queue")
        self.check(done.returncode == 0, done)
        return any(row["service"] == self.service.origin for row in json.loads(done.stdout))

    def account(self):
        """No push that nobody wants, and none twice."""
        taken = set()
        for request in self.mail_pushes():
            device, subject = self.read(request)
            mine = [one for one in self.all if (one.path, one.device) == (request.path, device)]
            wanted = [one for one in mine if subject in one.must | one.may | one.never]
            self.check(wanted, "a push that is not wanted", subject, mine)
            late = [one for one in wanted if subject in one.never and request.number >= one.ended]
            # What is refused may have been on its way when the end came.
            if request.behaviour != "answer 201":
                continue
            self.check(not late, "a push after the end", subject, late)
            if not self.run.has_killed:
                self.check((request.path, subject) not in taken, "twice", subject, wanted)
                taken.add((request.path, subject))

    # -- the model --

    def live(self):
        return {id: one for id, one in self.stored.items() if one.is_live}

    def new(self, id, device=None, path=None, value=None):
        device = device or Device()
        path = path or f"/{self.user}/{b64(os.urandom(9))}"
        resource = {
            "endpoint": self.service.origin + path,
            "keys": {"p256dh": device.p256dh, "auth": b64(device.auth)},
        }
        if value is None:
            value = {
                "client": self.random.choice(("App", "Äpp €", "A\tb", 'q"\\')),
                "device": f"Device {self.random.randrange(1000)}",
                "msgtype": self.random.choice(("chat", "mail", "all", "all")),
            }
            if self.random.random() < 0.3:
                value["exclude_from"] = [SENDERS[1].lower()]
        self.devices.setdefault(path, []).append(device)
        self.secrets.add(b64(device.auth))
        return Subscription(id, {**value, "resource": resource}, device, path, self.service)

    def choose(self):
        """A new one, or one in place of another, with something in common or not."""
        live = self.live()
        how = self.random.choice(("new", "new", "new", "same", "msgtype", "keys", "endpoint"))
        if how == "new" or not live:
            return self.new(self.random.choice(self.ids))
        old = live[self.random.choice(list(live))]
        value = dict(old.value)
        if how == "msgtype":
            value[how] = self.random.choice(("chat", "mail", "all"))
        device = None if how == "keys" else old.device
        path = None if how == "endpoint" else old.path
        return self.new(old.id, device, path, value)

    def end(self, id, is_sure=True):
        if id in self.stored:
            one = self.stored.pop(id)
            # A push may be on its way, and coi-push may not have heard of the end.
            is_sure = is_sure and not one.takes() and self.run.is_calm
            one.end(lambda: self.pending(one), is_sure)

    def accept(self, one, is_sure=True):
        self.end(one.id, is_sure)
        one.text = self.validations(one.path)[-1]
        self.secrets.add(one.text)
        self.stored[one.id] = one
        self.all.append(one)
        self.failures = 0

    def is_gone(self, one):
        self.say("gone", one)
        one.gone = True
        one.forgive(self.pending(one))

    # -- steps --

    def register(self):
        one = self.choose()
        live = self.live()
        is_full = one.id not in live and len(live) >= LIMIT
        if not one.takes():
            self.service.on(one.path, answer(201))
        before = len(self.validations(one.path))
        response = self.send({one.id: one.value})
        self.say("register", one, response.text)
        asked = len(self.validations(one.path)) - before
        if self.is_unwritable:
            self.check(response.status == "NO", "nothing can be stored", response)
        elif not self.run.is_calm and not response.ok:
            words = ("[UNAVAILABLE]", "[METADATA TOOMANY]")
            self.check(response.text.startswith(words), "without coi-push", response)
        elif is_full:
            self.check(response.text.startswith("[METADATA TOOMANY]"), "too many", response)
            self.check(not asked, "validations though there are too many")
        else:
            self.check(response.ok and not self.run.is_stopped, "register", response)
            self.check(asked == 1 or not self.run.is_calm, "validations", asked)
            self.accept(one)
            if self.random.random() < 0.75:
                self.confirm(one)

    def register_in_vain(self):
        one = self.choose()
        what = self.random.choice((*REFUSED, *WRONG))
        if what in REFUSED and self.failures >= MOST_FAILURES:
            return
        if what in LASTING and any(one.path == other.path for other in self.all):
            return
        old = self.live().get(one.id)
        is_full = not old and len(self.live()) >= LIMIT
        behaviours = self.service.behaviours.get(one.path, [answer(201)])
        sent = one.value
        if what in REFUSED:
            behave, code = REFUSED[what]
            self.service.on(one.path, behave)
        else:
            change, code = WRONG[what]
            sent = change(json.dumps(sent))
        response = self.send({one.id: sent})
        self.say("register in vain", what, one, response.text)
        self.failures += what in REFUSED
        # A push of the old one may have met this, too.
        if what in ("404", "410") and old and old.path == one.path and self.pending(old):
            old.fading = True
        self.service.on(one.path, *behaviours)
        self.check(response.status == "NO", "accepted", response)
        codes = (code, "[METADATA TOOMANY]") if is_full else (code,)
        if self.run.is_calm:
            self.check(response.text.startswith(codes), "another code than", codes, response)

    def confirm(self, one):
        response = self.send({f"{one.id}/validate": one.text})
        self.say("confirm", one, response.text)
        if self.is_unwritable:
            self.check(response.status == "NO", "nothing can be stored", response)
        elif one.validated or one.expired or one.gone and not response.ok:
            self.check(response.text.startswith("[CANNOT]"), "confirmed", response)
        else:
            self.check(response.ok, "not confirmed", response)
            one.validated = True

    def confirm_some(self):
        if self.stored:
            self.confirm(self.random.choice(list(self.stored.values())))

    def confirm_in_vain(self):
        """With another one's text, or that of an earlier one with the same name."""
        id = self.random.choice((*self.stored, "unknown-id-123"))
        texts = ["wrong", None, *(one.text for one in self.all if self.stored.get(id) is not one)]
        response = self.send({f"{id}/validate": self.random.choice(texts)})
        self.say("confirm in vain", id, response.text)
        self.check(response.status == "NO", "confirmed by a wrong text", response)

    def remove(self):
        """One or two, that may not be there; now and then with a new one in their place."""
        ids = self.random.sample(self.ids, self.random.choice((1, 1, 2)))
        if self.stored and self.random.random() < 0.7:
            # Rather one whose pushes have to wait: they must not come any more.
            waiting = [id for id, one in self.stored.items() if one.waits]
            ids = [self.random.choice(waiting or list(self.stored))]
        one = None
        there = [id for id in ids if id in self.live()]
        free = [id for id in self.ids if id not in self.stored and id not in ids]
        is_sure = self.run.is_calm and not self.is_unwritable
        if there and free and is_sure and self.random.random() < 0.3:
            one = self.new(free[0])
        entries = dict.fromkeys(ids) | ({one.id: one.value} if one else {})
        response = self.send(dict(self.random.sample(list(entries.items()), len(entries))))
        self.say("remove", ids, "for" if one else "", one or "", response.text)
        if self.is_unwritable:
            self.check(not (response.ok and there), "removed, and can't be", response)
            return
        self.check(response.ok, "not removed", response)
        for id in ids:
            self.end(id)
        if one:
            self.accept(one)
            self.confirm(one)

    def at_once(self):
        """Two sessions register: two new ones, or the same."""
        if self.is_unwritable or not self.run.is_calm:
            return
        free = [id for id in self.ids if id not in self.live()]
        room = LIMIT - len(self.live())
        is_same = self.random.random() < 0.5
        names = free if room else list(self.live())
        both = [self.new(id) for id in ((names[0], names[0]) if is_same else free[:2])]
        responses = {}
        sessions = [self.server.imap(self.user) for _ in both]

        def send(number):
            one = both[number]
            responses[number] = self.send({one.id: one.value}, sessions[number])

        threads = [threading.Thread(target=send, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for session in sessions:
            session.close()
        self.say("at once", both, responses)
        self.check(len(responses) == 2, "no answer")
        done = [both[number] for number in (0, 1) if responses[number].ok]
        most = 2 if is_same else min(room, 2)
        self.check(len(done) == most, "done by", len(done), "and not by", most, responses)
        if is_same:
            last = [one for one in both if one.is_as(self.listing().get(one.id))]
            self.check(len(last) == 1, "neither is there", both)
            done.sort(key=lambda one: one is last[0])
        for one in done:
            self.accept(one)

    def deliver(self, kind=None):
        kind = kind or self.random.choice(("chat", "mail"))
        sender = self.random.choice(SENDERS)
        self.mails += 1
        subject = f"M{self.mails}"
        text = (chat if kind == "chat" else mail)(subject)
        text = text.replace(SENDERS[0].encode(), sender.encode())
        kind = kind if self.is_coi else "mail"
        wanting = [one for one in self.stored.values() if one.wants(kind, sender)]
        way = self.random.choice(("lmtp", "lmtp", "lmtp", "lda"))
        self.say("deliver", way, kind, sender, subject, wanting)
        self.server.deliver(way, self.user, text)
        for one in wanting:
            one.push(subject)
        if self.run.is_stopped:
            return
        # The service hears of it, and it is not listed any more.
        ending = {one.id for one in wanting if one.says_gone() and not self.is_unwritable}
        deadline = time.monotonic() + PATIENCE
        while ending & set(self.listing()):
            self.check(time.monotonic() < deadline, "gone, and listed", ending)
            time.sleep(0.05)
        if self.run.is_calm and self.random.random() < 0.8:
            self.await_pushes()

    def deliver_meanwhile(self):
        """Mail comes while one is removed, replaced or confirmed."""
        some = [one for one in self.live().values() if one.takes() and not one.waits]
        if not some or self.is_unwritable or not self.run.is_calm:
            return
        one = self.random.choice(some)
        is_over = threading.Event()
        sent = []

        def send():
            while not is_over.is_set():
                self.mails += 1
                begun = time.monotonic()
                self.server.deliver("lmtp", self.user, mail(f"M{self.mails}"))
                sent.append((f"M{self.mails}", begun, time.monotonic()))

        before = [each for each in self.stored.values() if each.wants("mail", SENDERS[0])]
        thread = threading.Thread(target=send)
        thread.start()
        while not sent and thread.is_alive():
            time.sleep(0.001)
        new = self.new(one.id)
        changes = {"remove": {one.id: None}, "replace": {one.id: new.value}}
        if not one.validated:
            changes["confirm"] = {f"{one.id}/validate": one.text}
        what = self.random.choice(list(changes))
        begun = time.monotonic()
        response = self.send(changes[what])
        done = time.monotonic()
        time.sleep(0.02)
        is_over.set()
        thread.join()
        self.say("meanwhile", what, one, response.text, sent)
        self.check(response.ok, what, response)
        if what == "confirm":
            one.validated = True
            before += [one] if one.wants("mail", SENDERS[0]) else []
        for each in before:
            for subject, start, end in sent:
                if each is not one or (start > done if what == "confirm" else end < begun):
                    each.push(subject)
                elif start < done and end > begun:
                    each.may.add(subject)
        if what == "remove":
            self.end(one.id, is_sure=False)
        elif what == "replace":
            self.accept(new, is_sure=False)

    def change_answers(self):
        """Of the push service, to one of them; or to all of them again as it should be."""
        some = [one for one in self.live().values() if one.validated]
        if not some or self.random.random() < 0.25:
            self.say("all is well")
            return self.mend()
        one = self.random.choice(some)
        behave = self.random.choice((answer(404), answer(410), *SLOW))
        self.say("service:", behave.__name__, one)
        if behave in SLOW:
            one.waits = True
        elif one.waits:
            return
        elif self.pending(one):
            one.fading = True
            one.forgive(self.pending(one))
        self.service.on(one.path, behave)
        # Something is to wait, or to end it.
        self.deliver("chat" if one.value["msgtype"] == "chat" else "mail")

    def mend(self):
        for one in self.all:
            # What is said to be gone, and no longer asked for, stays so.
            if not one.says_gone():
                self.service.on(one.path, answer(201))
            elif one is self.live().get(one.id):
                one.fading = True
                self.service.on(one.path, answer(201))

    def expire(self):
        """Those that nobody has confirmed, by a change to what is stored."""
        path = self.server.home(self.user) / "dovecot-attributes"
        if self.is_unwritable or not path.exists():
            return
        text = path.read_text()
        for one in self.live().values():
            if one.validated:
                continue
            head, key, tail = text.partition(KEY.format(one.id))
            value, end, rest = tail.partition("\n")
            new = re.sub(r'"expires":\d+', f'"expires":{int(time.time()) - 1}', value)
            self.check(new != value, "stored", one, value)
            text = head + key + new + end + rest
            one.expired = True
            self.say("expired", one)
        self.server.write(self.user, "new-attributes", text).rename(path)

    def change_rights(self):
        """Metadata can't be written, or can be again."""
        home = self.server.home(self.user)
        if home.exists():
            self.is_unwritable = not self.is_unwritable
            owner = 0 if self.is_unwritable else MAIL_UID
            os.chown(home, owner, owner)
            home.chmod(0o755 if self.is_unwritable else 0o700)
            self.say("unwritable" if self.is_unwritable else "writable")

    # -- the course --

    def steps(self, count):
        weights = {
            self.register: 7,
            self.register_in_vain: 2,
            self.confirm_some: 2,
            self.confirm_in_vain: 1,
            self.remove: 2.5,
            self.at_once: 1,
            self.deliver: 7,
            self.deliver_meanwhile: 1.5,
            self.change_answers: 5,
            self.expire: 0.7,
            self.change_rights: 0.7,
        }
        for _ in range(count):
            weights[self.change_rights] = 4 if self.is_unwritable else 0.7
            (step,) = self.random.choices(list(weights), list(weights.values()))
            step()
            self.compare()

    def finish(self):
        """All is well again, and whatever has waited comes."""
        if self.is_unwritable:
            self.change_rights()
        self.mend()
        for one in self.all:
            one.waits = False
        self.await_pushes(300)
        self.deliver("mail")
        self.deliver("chat")
        self.await_pushes()
        self.compare()
        eventually(lambda: not self.is_queued(), f"no push is left for {self.user}")
        self.account()
