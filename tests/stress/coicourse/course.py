# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A random course of folder operations, contacts and deliveries, and what they must come to.

The model is the protocol, and a twin: a user of the same name on a server without the plugin,
who is told to do what the plugin should do by itself. So nothing of Dovecot's own rules is
written here: a folder command must be answered as on the stock server, or refused by ours; and
after each step both users must have the same folders, subscriptions and mail.
"""

import os
import random
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

from harness.imap import SERVERS_FLAGS, Literal
from harness.server import ROOT

from .senders import ADDRESSES, OFTEN, blocked_hashes, contact, from_fields, hash_of

ENABLED, FILTER = f"{ROOT}/enabled", f"{ROOT}/message-filter"
SEEN, DELETED, CHAT = "\\Seen", "\\Deleted", "$Chat"
SCRIPT = 'require ["fileinto"];\nif header :is "X-Place" "contacts" { fileinto "%s"; }\n'


class Broken(AssertionError):
    """The server did what it must not."""


class State:
    """What a client sees of a user's mail: folder to mails, and subscriptions."""

    def __init__(self, client):
        self.mails = {}
        self.uids = {}
        self.subscribed = set()
        for line in client.must('LIST (SUBSCRIBED) "" "*"').lines("LIST"):
            self.subscribed.add(re.search(rb' "?([^" ]+)"?$', line).group(1).decode())
        for folder in client.folders():
            # Dovecot's index of the list may be of a moment ago.
            if client.command(f'EXAMINE "{folder}"').ok:
                mails = client.mails(folder)
                self.mails[folder] = sorted((mail.subject, *sorted(mail.flags)) for mail in mails)
                self.uids[folder] = {mail.subject: mail.uid for mail in mails}

    def differs(self, other):
        """In words; empty if it doesn't."""
        words = []
        for folder in sorted({*self.mails, *other.mails}):
            mine, theirs = self.mails.get(folder), other.mails.get(folder)
            if mine is None or theirs is None:
                words.append(f"{folder} is {'not ' if mine is None else ''}there")
            elif mine != theirs:
                more = [mail for mail in mine if mail not in theirs]
                less = [mail for mail in theirs if mail not in mine]
                words.append(f"{folder} has {more} instead of {less}")
        if self.subscribed != other.subscribed:
            words.append(f"subscribed: {self.subscribed} instead of {other.subscribed}")
        return "; ".join(words)


def number_of(mails, subject):
    """Of the first one with it."""
    return next(number for number, mail in enumerate(mails, 1) if mail.subject == subject)


def subject_of(header):
    found = re.search(rb"^Subject: (.*?)\r?$", header, re.M)
    return found and found.group(1).decode()


class Owner:
    """A user, and what the entries say."""

    def __init__(self, name):
        self.name = name
        self.enabled = False
        self.filter = "none"
        # Of the contacts, by their subjects. The twin's may be in another order: without a
        # dovecot-uidlist, Dovecot may find a new mail before the others.
        self.uids = {}

    def __repr__(self):
        return f"{self.name} ({'enabled' if self.enabled else 'disabled'}, {self.filter})"


class Letter:
    def __init__(self, rng, number):
        count = rng.choice((0, 1, 1, 1, 1, 2, 3))
        self.senders = list(dict.fromkeys(rng.choice(OFTEN) for _ in range(count)))
        self.is_chat = rng.random() < 0.5
        fields = from_fields(rng, self.senders) if self.senders else []
        fields += [f"Subject: mail {number}", f"Message-ID: <{number}@example.net>"]
        fields += ["Chat-Version: 1.0"] * self.is_chat
        if rng.random() < 0.3:
            name = rng.choice(("Sender", "Reply-To", "X-From"))
            fields.append(f"{name}: {rng.choice(ADDRESSES)}")
        rng.shuffle(fields)
        self.text = "\n".join([*fields, "", f"From: {ADDRESSES[0]}", ""]).encode()


class Course:
    def __init__(self, ours, stock, seed, users=2):
        self.ours, self.stock = ours, stock
        self.servers = (ours, stock)
        self.rng = random.Random(seed)
        self.story = []
        self.letters = 0
        # what stands below a user's home may be changed by hand
        self.is_plain = ours.settings.mail_format == "maildir" and not ours.settings.before
        # mail_crypt's keys hang on what is in an index, and are lost with a new one
        self.is_encrypted = "crypt" in ours.settings.before
        name = ours.folder
        self.root, self.blocked, self.other = name("COI"), name("Blocked"), name("Other")
        self.chats, self.contacts = ours.chats, ours.contacts
        self.trashes = [name("Trash"), name("Bin")]
        self.names = [
            *(*self.trashes, name("Trash", "COI"), name("Trash", "Old"), name("Bin", "Chats")),
            *(name("Old"), name("Old", "Chats"), name("Old", "Contacts"), name("COI", "Other")),
            *(name("COI", "Chats", "Sub"), name("COI", "Contacts", "Sub"), self.other),
            *(name("Blocked", "Sub"), name("COIx", "Chats")),
        ]
        # Whose state may have changed in a step.
        self.touched = set()
        self.owners = [Owner(ours.new_user()) for _ in range(users)]
        for owner in self.owners:
            stock.new_user(owner.name)
            for server in self.servers:
                with server.imap(owner.name) as client:
                    client.must("SELECT INBOX")
                if ours.settings.sieve:
                    server.write(owner.name, ".dovecot.sieve", SCRIPT % self.contacts)

    def run(self, steps):
        try:
            for owner in self.owners:
                self.set_entries(owner, {ENABLED: "yes"})
            names = [name for name, weight in STEPS.items() for _ in range(weight)]
            for _ in range(steps):
                owner = self.rng.choice(self.owners)
                self.touched = {owner}
                getattr(self, self.rng.choice(names))(owner)
                for each in self.touched:
                    self.check(each)
            for owner in self.owners:
                self.check(owner)
        except Exception as error:
            raise Broken("\n".join([*self.story[-40:], repr(error)])) from error

    def tell(self, *words):
        self.story.append(f"{len(self.story)}: {' '.join(map(str, words))}")

    # -- what the protocol says --

    def is_below_trash(self, folder):
        return folder.startswith(tuple(trash + self.ours.separator for trash in self.trashes))

    def is_above_chats(self, folder):
        return self.chats.startswith(folder + self.ours.separator)

    def has(self, owner, folder):
        """Of the twin."""
        with self.stock.imap(owner.name) as client:
            return client.command(f'EXAMINE "{folder}"').ok

    def make(self, client, folder, subscribe=False, subscribe_new=False):
        """What the server makes itself, for the twin."""
        new = client.command(f'CREATE "{folder}"').ok
        if subscribe or (new and subscribe_new):
            client.must(f'SUBSCRIBE "{folder}"')

    def enable(self, owner):
        """ENA-1, ENA-2"""
        with self.stock.imap(owner.name) as client:
            self.make(client, self.contacts)
            self.make(client, self.chats, not owner.enabled, True)
        owner.enabled = True

    def is_blocked(self, owner, senders):
        with self.stock.imap(owner.name) as client:
            if not client.command(f'EXAMINE "{self.contacts}"').ok:
                return False
            headers = []
            for line in client.must("UID FETCH 1:* BODY.PEEK[HEADER]").lines("FETCH"):
                uid = int(re.search(rb"UID (\d+)", line).group(1))
                header = line.split(b"}\r\n", 1)[1].rsplit(b")", 1)[0]
                headers.append((owner.uids.get(subject_of(header), uid), header))
        blocked = blocked_hashes(headers)
        return any(hash_of(sender) in blocked for sender in senders)

    def place(self, owner, letter, named=None):
        """Where a mail is to go, and with which keywords. named is there, and no INBOX."""
        flags = [CHAT] * (letter.is_chat and owner.enabled)
        if named not in (None, self.chats):
            return named, flags
        if owner.enabled and self.is_blocked(owner, letter.senders):
            return self.blocked, flags
        if owner.enabled and owner.filter == "active" and letter.is_chat:
            return self.chats, flags
        return named or "INBOX", flags

    def check(self, owner):
        with self.ours.imap(owner.name) as client:
            entries = client.getmetadata(ENABLED, FILTER)
            found = State(client)
        with self.stock.imap(owner.name) as client:
            wanted = State(client)
        if entries[ENABLED] != (b"yes" if owner.enabled else None):
            raise Broken(f"{owner}: {entries}")
        if (entries[FILTER] or b"none") != owner.filter.encode():
            raise Broken(f"{owner}: {entries}")
        owner.uids = found.uids.get(self.contacts, {})
        if found.differs(wanted):
            raise Broken(f"{owner}: {found.differs(wanted)}")

    def same(self, replies, what):
        if replies[0] != replies[1]:
            raise Broken(f"{what}: {replies[0]} instead of {replies[1]}")
        return replies[0]

    # -- folders --

    def folder_command(self, server, owner, way, command, *names):
        if way == "imap":
            with server.imap(owner.name) as client:
                words = " ".join(f'"{name}"' for name in names)
                return client.command(f"{command} {words}").ok
        done = server.run("doveadm", "mailbox", *command.split(), "-u", owner.name, *names)
        return done.returncode == 0

    def on_both(self, owner, way, command, *names):
        """Returns whether it was done."""
        replies = [self.folder_command(each, owner, way, command, *names) for each in self.servers]
        self.tell(owner, way, command, *names, replies)
        return self.same(replies, f"{command} {names}")

    def any_name(self):
        """Mostly one that matters."""
        ours = (self.chats, self.chats, self.root, self.contacts, self.blocked)
        return self.rng.choice(ours if self.rng.random() < 0.6 else self.names)

    def any_way(self):
        return self.rng.choice(("imap", "imap", "doveadm"))

    def create(self, owner):
        """ENA-9; a name that ends with the separator may make a folder, too."""
        name = self.any_name()
        ending = self.rng.choice(("", "", "", self.ours.separator))
        had = self.has(owner, self.chats)
        self.on_both(owner, "imap" if ending else self.any_way(), "create", name + ending)
        if not had and self.has(owner, self.chats):
            self.enable(owner)

    def delete(self, owner):
        """ENA-6"""
        had = self.has(owner, self.chats)
        way, command = self.any_way(), "delete"
        if way == "doveadm" and self.rng.random() < 0.3:
            command = "delete -r"
        self.on_both(owner, way, command, self.any_name())
        if had and not self.has(owner, self.chats):
            owner.enabled = False

    def rename(self, owner):
        """ENA-7, ENA-8, ENA-9"""
        source, target = self.any_name(), self.any_name()
        way = self.any_way()
        to_trash = source == self.chats and self.is_below_trash(target)
        ours = source == self.chats or self.is_above_chats(source)
        if owner.enabled and ours and not to_trash:
            done = self.folder_command(self.ours, owner, way, "rename", source, target)
            self.tell(owner, way, "rename", source, target, "is to be refused:", done)
            if done:
                raise Broken("it wasn't")
            return
        had = self.has(owner, self.chats)
        done = self.on_both(owner, way, "rename", source, target)
        if done and owner.enabled and to_trash:
            owner.enabled = False
        elif done and not had and self.has(owner, self.chats):
            self.enable(owner)

    def subscribe(self, owner):
        command = self.rng.choice(("subscribe", "unsubscribe"))
        self.on_both(owner, "imap", command, self.any_name())

    def directories(self, owner, folder):
        path = "." + folder.removeprefix(self.ours.prefix).replace(self.ours.separator, ".")
        return [server.home(owner.name) / "maildir" / path for server in self.servers]

    def remove_by_hand(self, owner):
        """Nothing tells Dovecot."""
        if self.is_plain:
            folder = self.rng.choice((self.chats, self.contacts, self.blocked))
            for path in self.directories(owner, folder):
                shutil.rmtree(path, ignore_errors=True)
            self.tell(owner, "rm -r", folder)

    def take_away_and_back(self, owner):
        """Contacts, by hand; a mail is delivered meanwhile."""
        paths = self.directories(owner, self.contacts)
        if not self.is_plain or not all(path.is_dir() for path in paths):
            return
        self.tell(owner, "Contacts is away")
        for path in paths:
            path.rename(path.with_name("away"))
        self.deliver(owner)
        self.check(owner)
        for path in paths:
            path.with_name("away").rename(path)
        self.tell(owner, "Contacts is back")

    # -- entries --

    def set_entries(self, owner, entries):
        with self.ours.imap(owner.name) as client:
            response = client.setmetadata(entries)
        self.tell(owner, entries, response.ok)
        if not response.ok:
            raise Broken(repr(response))
        if entries.get(FILTER) in ("active", "seen"):
            with self.stock.imap(owner.name) as client:
                self.make(client, self.chats, subscribe_new=True)
        if entries.get(ENABLED):
            self.enable(owner)
        elif ENABLED in entries:
            owner.enabled = False
        if FILTER in entries:
            owner.filter = entries[FILTER] or "none"

    def set_some_entries(self, owner):
        entries = {}
        if self.rng.random() < 0.6:
            entries[ENABLED] = self.rng.choice(("yes", "yes", "yes", None))
        if not entries or self.rng.random() < 0.6:
            entries[FILTER] = self.rng.choice(("none", "active", "active", "seen", None))
        if self.rng.random() > 0.15:
            self.set_entries(owner, entries)
            return
        entries[self.rng.choice((ENABLED, FILTER))] = "Yes"
        with self.ours.imap(owner.name) as client:
            response = client.setmetadata(entries)
        self.tell(owner, entries, "is to be refused:", response)
        if response.ok:
            raise Broken("it wasn't")

    # -- contacts --

    def append(self, owner, folder, text, flags=""):
        replies = []
        for server in self.servers:
            with server.imap(owner.name) as client:
                replies.append(client.command(f'APPEND "{folder}" ({flags}) ', Literal(text)).ok)
        self.tell(owner, "APPEND to", folder, replies, text)
        return self.same(replies, f"APPEND to {folder}")

    def append_contact(self, owner):
        self.append(owner, self.contacts, contact(self.rng), self.rng.choice(("", SEEN, "$x")))

    def bring_contact(self, owner):
        """By COPY or MOVE from another folder."""
        command = self.rng.choice(("COPY", "MOVE"))
        self.append(owner, "INBOX", contact(self.rng))
        replies = []
        for server in self.servers:
            with server.imap(owner.name) as client:
                count = client.exists("INBOX")
                replies.append(client.command(f'{command} {count} "{self.contacts}"').ok)
        self.tell(owner, command, "to Contacts", replies)
        self.same(replies, command)

    def copy_contacts(self, owner):
        """By doveadm, from another folder."""
        folder = self.ours.folder("Import")
        if not self.has(owner, self.contacts):
            return
        self.on_both(owner, "imap", "create", folder)
        for _ in range(self.rng.choice((1, 3))):
            self.append(owner, folder, contact(self.rng))
        for server in self.servers:
            query = ("mailbox", folder, "all")
            server.doveadm("copy", "-u", owner.name, self.contacts, *query)
        self.on_both(owner, "imap", "delete", folder)

    def replace_contact(self, owner):
        """The number of mails stays."""
        if not self.has(owner, self.contacts):
            return
        text = contact(self.rng)
        last = None
        self.tell(owner, "replaces the last contact", text)
        for server in self.servers:
            with server.imap(owner.name) as client:
                mails = client.mails(self.contacts)
                last = last or (mails and mails[-1].subject)
                client.must(f'SELECT "{self.contacts}"')
                if mails:
                    client.store(number_of(mails, last), "+FLAGS.SILENT", DELETED)
                client.must(f'APPEND "{self.contacts}" ', Literal(text))
                client.must("EXPUNGE")

    def file_contact(self, owner):
        """By a Sieve script or dovecot-lda -m."""
        text = contact(self.rng)
        folder = self.contacts if self.has(owner, self.contacts) else "INBOX"
        self.tell(owner, "a contact for", folder, text)
        if self.ours.settings.sieve:
            text = b"X-Place: contacts\n" + text
            self.ours.deliver(self.rng.choice(("lmtp", "lda")), owner.name, text)
        else:
            self.lda(owner, text, self.contacts)
        self.twin_gets(owner, folder, text, ())

    def remove_contact(self, owner):
        """Or only flag it, or all of them."""
        how = self.rng.choice(("EXPUNGE", "CLOSE", "MOVE", "flag", "doveadm", "all"))
        which = None
        for server in self.servers:
            with server.imap(owner.name) as client:
                mails = self.has(owner, self.contacts) and client.mails(self.contacts)
                if not mails:
                    return
                which = which or self.rng.choice(mails).subject
                number = number_of(mails, which)
                client.must(f'SELECT "{self.contacts}"')
                if how == "MOVE":
                    client.must(f"MOVE {number} INBOX")
                elif how == "doveadm":
                    query = ("mailbox", self.contacts, "uid", str(mails[number - 1].uid))
                    server.doveadm("expunge", "-u", owner.name, *query)
                elif how == "flag":
                    client.store(number, "+FLAGS", "\\Flagged")
                else:
                    chosen = "1:*" if how == "all" else number
                    client.store(chosen, "+FLAGS.SILENT", DELETED)
                    client.must("CLOSE" if how == "CLOSE" else "EXPUNGE")
        self.tell(owner, which, how)

    def look(self, owner):
        """Dovecot's cache then knows some of the headers."""
        names = self.rng.sample(("CHAT-CONTENT", "COI-FROM-HASH", "COI-BLOCKED", "DATE"), 3)
        with self.ours.imap(owner.name) as client:
            if client.command(f'EXAMINE "{self.contacts}"').ok:
                client.must(f"UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS ({' '.join(names)})])")
                client.must("UID FETCH 1:* (ENVELOPE)")
        self.tell(owner, "looks at", names)

    # -- what becomes of indexes; the twin's stay --

    def contacts_places(self, owner):
        """Where the folder has its index, and what was it."""
        logs = self.ours.home(owner.name).glob("**/dovecot.index.log")
        return [path.parent for path in logs if "Contacts" in str(path)]

    def harm_our_index(self, owner):
        harm = self.rng.choice(("none", "cut", "head", "mode", "link", "fifo", "longer"))
        self.tell(owner, "our index:", harm)
        for directory in self.contacts_places(owner):
            path = directory / "dovecot-coi.contacts"
            if not path.is_file() or path.is_symlink() or not path.stat().st_size:
                continue
            data = path.read_bytes()
            if harm == "cut":
                path.write_bytes(data[: self.rng.randrange(len(data))])
            elif harm == "head":
                spot = self.rng.randrange(min(8, len(data)))
                path.write_bytes(data[:spot] + bytes([data[spot] ^ 0x41]) + data[spot + 1 :])
            elif harm == "longer":
                path.write_bytes(data + bytes(48))
            elif harm == "mode":
                path.chmod(0)
            else:
                path.unlink()
            if harm == "link":
                path.symlink_to("/etc/passwd")
            elif harm == "fifo":
                os.mkfifo(path)

    def remove_index(self, owner):
        """As far as that harms no mail."""
        choices = [("dovecot.index.cache",), ("dovecot.index",)]
        if self.ours.settings.mail_format == "maildir":
            index = ("dovecot.index", "dovecot.index.log", "dovecot.index.cache")
            choices += [("dovecot.index.log",), index, ("dovecot-uidlist",)]
            choices += [(*index, "dovecot-uidlist", "dovecot-coi.contacts")]
        names = self.rng.choice(choices)
        if self.is_encrypted:
            return
        self.tell(owner, "without", *names)
        for directory in self.contacts_places(owner):
            for name in names:
                (directory / name).unlink(missing_ok=True)

    def resync(self, owner):
        folder = self.rng.choice((self.contacts, "*"))
        if self.is_encrypted:
            return
        self.tell(owner, "force-resync", folder)
        self.ours.run("doveadm", "force-resync", "-u", owner.name, folder)

    def change_uids(self, owner):
        uidvalidity = ("--uid-validity", str(self.rng.randrange(1, 2**31)))
        uidnext = ("--min-next-uid", str(self.rng.randrange(1, 2000)))
        option = self.rng.choice((uidvalidity, uidnext))
        self.tell(owner, *option)
        self.ours.run("doveadm", "mailbox", "update", "-u", owner.name, *option, self.contacts)

    # -- deliveries --

    def letter(self):
        self.letters += 1
        return Letter(self.rng, self.letters)

    def twin_gets(self, owner, folder, text, flags):
        with self.stock.imap(owner.name) as client:
            if folder in (self.chats, self.blocked):
                self.make(client, folder, subscribe_new=folder == self.chats)
            client.must(f'APPEND "{folder}" ({" ".join(flags)}) ', Literal(text))

    def lda(self, owner, text, folder):
        done = self.ours.lda(owner.name, text, "-m", folder)
        if done.returncode:
            raise Broken(repr(done))

    def deliver(self, owner):
        """To some of the users, while the owner's client may look at INBOX."""
        letter = self.letter()
        receivers = self.rng.sample(self.owners, self.rng.randrange(1, len(self.owners) + 1))
        way = self.rng.choice(("lmtp", "lmtp", "lda"))
        plan = [(each, *self.place(each, letter)) for each in receivers]
        self.tell(way, letter.senders, "for", plan, letter.text)
        self.touched.update(receivers)
        client = self.ours.imap(owner.name)
        client.must("SELECT INBOX")
        client.idle()
        if way == "lmtp":
            replies = self.ours.lmtp(*(each.name for each in receivers), mail=letter.text)
            if not all(reply.startswith("250") for reply in replies):
                raise Broken(repr(replies))
        else:
            for each in receivers:
                self.ours.deliver("lda", each.name, letter.text)
        if any(each is owner and folder == "INBOX" for each, folder, _ in plan):
            client.idle_until("EXISTS")
        elif any(b"EXISTS" in line for line in client.done().untagged):
            raise Broken("an idle client was told of mail elsewhere")
        client.close()
        for each, folder, flags in plan:
            self.twin_gets(each, folder, letter.text, flags)

    def deliver_at_once(self, owner):
        letters = [self.letter() for _ in range(4)]
        plan = [(letter.text, *self.place(owner, letter)) for letter in letters]
        self.tell("at once, for", owner, plan)
        with ThreadPoolExecutor(len(plan)) as pool:
            for job in [
                pool.submit(self.ours.deliver, "lmtp", owner.name, text) for text, _, _ in plan
            ]:
                job.result()
        for text, folder, flags in plan:
            self.twin_gets(owner, folder, text, flags)

    def deliver_to_folder(self, owner):
        """FIL-9: by dovecot-lda -m, or user+folder where that counts."""
        named = self.rng.choice((self.chats, self.contacts, self.blocked, self.other))
        letter = self.letter()
        by_detail = "lmtp_save_to_detail_mailbox" in self.ours.settings.before
        is_choice = self.has(owner, named) and not (by_detail and named == self.contacts)
        folder, flags = self.place(owner, letter, named if is_choice else None)
        self.tell(owner, "with", named, letter.senders, folder, letter.text)
        if by_detail:
            # LMTP puts the prefix ahead of it.
            detail = named.removeprefix(self.ours.prefix)
            self.ours.deliver("lmtp", f"{owner.name}+{detail}", letter.text)
        else:
            self.lda(owner, letter.text, named)
        self.twin_gets(owner, folder, letter.text, flags)

    def read(self, owner):
        """FIL-3"""
        with self.ours.imap(owner.name) as client, self.stock.imap(owner.name) as twin:
            mails = client.mails("INBOX")
            chosen = self.rng.sample(mails, min(len(mails), self.rng.randrange(1, 4)))
            self.tell(owner, "reads", chosen)
            if not chosen:
                return
            client.must("SELECT INBOX")
            client.store(",".join(str(mail.uid) for mail in chosen), "+FLAGS", SEEN, uid=True)
            uids = {mail.subject: mail.uid for mail in twin.mails("INBOX")}
            for mail in chosen:
                twin.must("SELECT INBOX")
                twin.store(uids[mail.subject], "+FLAGS", SEEN, uid=True)
                if owner.enabled and owner.filter == "seen" and mail.is_chat:
                    self.make(twin, self.chats, subscribe_new=True)
                    twin.must(f'UID MOVE {uids[mail.subject]} "{self.chats}"')


# How often each of them is taken.
STEPS = {
    "create": 4,
    "delete": 4,
    "rename": 5,
    "subscribe": 1,
    "remove_by_hand": 1,
    "take_away_and_back": 1,
    "set_some_entries": 4,
    "append_contact": 5,
    "bring_contact": 2,
    "copy_contacts": 1,
    "replace_contact": 2,
    "file_contact": 2,
    "remove_contact": 6,
    "look": 1,
    "harm_our_index": 2,
    "remove_index": 2,
    "resync": 1,
    "change_uids": 1,
    "deliver": 16,
    "deliver_at_once": 2,
    "deliver_to_folder": 3,
    "read": 2,
}
