# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What is done to a server: a list of steps that depends on a seed and on nothing else.

A step is a name, which player.py knows, and its arguments. {s} in a folder's name is the
separator; {p} the prefix of the inbox namespace.
"""

import random
import re

from .letters import letter

# {p}COI{s}Chats isn't made: that enables COI (ENA-9).
FOLDERS = (
    *("INBOX", "INBOX", "INBOX", "inbox", "{p}Work", "{p}Work", "{p}Work{s}Deep", "{p}Trash"),
    *("{p}Trash{s}Old", "{p}Drafts", "{p}Chats", "{p}Chats", "{p}COI", "{p}COI{s}Talk"),
    *("{p}COI{s}Contacts", "{p}COI{s}chats", "{p}COI{s}Chats{s}Below", "{p}Talk{s}Chats"),
    *("{p}Blocked", "{p}&AOQ-", "{p}a b", "{p}Sent"),
)
ODD_FOLDERS = (
    *("{p}&bad", "{p}&", '{p}q\\"uote', "{p}foo*", "{p}%", "INBOX{s}Sub", "{p}" + "x" * 300),
    *("{s}lead", "{p}trail{s}", "{p}dou{s}{s}ble", "{p}..", "{p}a{s}..{s}b", "{p}cur", "~{p}x"),
    *("/etc/x", "", "{p}dbox-Mails", "{p}new{s}cur", "{p}ä", "{p}\\\\back", "COI", "{p}"),
    *("{p}COI{s}INBOX", "INBOX{s}INBOX", "{p}dovecot.index.log", "{p}.x", "{p}x.y", "{p}x/y"),
)
# Where there are more namespaces.
SPACES = (
    *("Archive/x", "Archive/COI", "Archive/COI/Chats", "Public/p", "Public/COI", "virtual/All"),
    *("mail/Work", "mail/COI/x", "mail/Chats", "virtual/COI", "mail/INBOX"),
)
# Where the other one has given away some.
SHARED = ("INBOX", "INBOX", "Work", "Chats", "COI", "COI{s}Chats", "new")
SHARED = tuple(f"shared{{s}}{{b}}{{s}}{name}" for name in SHARED)
FLAGS = (
    *("\\Seen", "\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "$Chat", "$chat"),
    *("$Forwarded", "NonJunk", "k1", "K1", "\\Recent", "\\Foo", "x]y", "k" * 60),
)
SETS = ("1", "1:*", "2", "2:4", "*", "1,3", "3:1", "9", "*:2", "$", "0", "1:2,5:*", "4294967295")
ITEMS = (
    *("ALL", "FAST", "FULL", "(FLAGS UID)", "(UID MODSEQ FLAGS)", "(RFC822.SIZE UID)", "ENVELOPE"),
    *("BODYSTRUCTURE", "BODY", "(BODY.PEEK[])", "BODY[]", "BODY[]<2.9>", "BODY.PEEK[HEADER]"),
    *("BODY.PEEK[HEADER.FIELDS (SUBJECT FROM CHAT-VERSION)]", "BODY[TEXT]", "BODY.PEEK[1.MIME]"),
    *("BODY.PEEK[HEADER.FIELDS.NOT (RECEIVED DATE)]", "BODY[1]<0.5>", "BINARY.PEEK[1]"),
    *("BINARY.SIZE[2]", "BINARY[2]<1.4>", "RFC822", "RFC822.HEADER", "RFC822.TEXT"),
    *("(PREVIEW)", "(PREVIEW (LAZY))", "(SNIPPET)", "(EMAILID THREADID)", "(SAVEDATE UID)"),
    *("(X-GUID)", "(X-MAILBOX UID)", "(X-REAL-UID)", "(INTERNALDATE)", "(X-SAVEDATE)", "BOGUS"),
    *("FLAGS (CHANGEDSINCE 1)", "(UID) (CHANGEDSINCE 3 VANISHED)", "()", "(FLAGS", "BODY[9.9]"),
)
KEYS = (
    *("ALL", "SEEN", "UNSEEN", "KEYWORD $Chat", "UNKEYWORD $Chat", "DELETED", "NEW", "RECENT"),
    *("OLD", "SUBJECT letter", "FROM b", "BODY line", "TEXT inner", "HEADER Chat-Version 1"),
    *('HEADER Chat-Version ""', 'HEADER References ""', "LARGER 500", "SMALLER 600", "UID 2:9"),
    *("SINCE 1-Jan-2020", "SENTBEFORE 1-Jan-2026", "MODSEQ 2", "NOT SEEN", "OR SEEN KEYWORD k1"),
    *("YOUNGER 9999", "SAVEDSINCE 1-Jan-2020", "SAVEDATESUPPORTED", "$", "1:3", "FUZZY BODY hi"),
    *("MIMEPART CHILD EXISTS", "BOGUS", "(SEEN (FLAGGED))"),
    *('MODSEQ "/flags/\\\\Seen" all 1', "X-GUID 1", "EMAILID M1", "MAILBOX INBOX", "DRAFT"),
)
RETURNS = ("", "", "RETURN () ", "RETURN (MIN MAX COUNT) ", "RETURN (ALL) ", "RETURN (SAVE) ")
SORTS = ("(ARRIVAL)", "(REVERSE DATE)", "(SUBJECT)", "(FROM SIZE)", "(DISPLAYFROM CC TO)", "(X)")
STATUS = (
    "(MESSAGES UNSEEN RECENT)",
    "(UIDNEXT HIGHESTMODSEQ UIDVALIDITY)",
    "(SIZE DELETED)",
    "(MAILBOXID MESSAGES)",
    "(X-GUID)",
    "(X)",
    "(APPENDLIMIT)",
)
ENTRIES = (
    *("/private/comment", "/shared/comment", "/private", "/shared", "/private/vendor"),
    *("/shared/admin", "/private/specialuse", "/private/vendor/vendor.dovecot"),
    *("/private/vendor/vendor.example/x", "/shared/vendor/vendor.example/x", "comment", ""),
    *("/private/devicetoken", "/shared/vendor/deltachat/maxsmtprecipients", "/private//x"),
    *("/private/vendor/vendor.dovecot/pvt/x", "/shared/vendor/vendor.dovecot/pvt/server/x"),
    *("/private/vendor/vendor.coi/enabled", "/private/*", "/private/filters/values/x"),
    *("/private/vendor/vendor.dovecot/coix", "/private/vendor/vendor.dovecot/c"),
    *("/shared/vendor/vendor.dovecot/coi/config/enabled", "/private/coi/config/enabled"),
)
NOTIFIES = (
    "NOTIFY SET (SELECTED (MessageNew (UID FLAGS) MessageExpunge FlagChange))",
    "NOTIFY SET STATUS (PERSONAL (MessageNew MessageExpunge FlagChange MailboxName))",
    "NOTIFY SET (INBOXES (MessageNew MessageExpunge)) (SUBTREE {p}COI (MailboxName))",
    "NOTIFY SET (SUBSCRIBED (MessageNew MessageExpunge SubscriptionChange))",
)
MALFORMED = (
    *("", " ", "NOOP", "x", "x ", "x  NOOP", "( NOOP", "x NOOP x", "x FETCH", "x FETCH 1"),
    *("x FETCH 1 (BODY[HEADER.FIELDS (])", "x STORE 1 +FLAGS", "x SELECT", 'x SELECT "unfinished'),
    *("x LIST", 'x LIST ( "" *', "x APPEND", "x APPEND INBOX", "x SEARCH CHARSET x-none SUBJECT a"),
    *("x UID", "x UID BOGUS", "x LOGIN a b", "x AUTHENTICATE PLAIN", "x STARTTLS", "x GETMETADATA"),
    *('x SETMETADATA "" (/private/comment)', "x SETMETADATA INBOX", 'x GETMETADATA (DEPTH 2) "" a'),
    *("x ENABLE", "x ENABLE COI", "x COPY 1", "x MOVE 1 {5+}", "x ID (\"name\")", "x ID NIL"),
    *("x COI", "x WEBPUSH", "x NOTIFY", "x NOTIFY SET", 'x GETMETADATA (MAXSIZE x) "" /private/a'),
    *("x CREATE", "x DELETE", "x RENAME INBOX", "x STATUS INBOX", "x STATUS INBOX ()", "x\0NOOP"),
)


def quoted(name):
    return '"' + name + '"'


class Script:
    """mode is what the users of ours have: COI off, or one of its filters."""

    def __init__(self, seed, length, mode="off", extras=()):
        self.dice = random.Random(seed)
        self.off = mode == "off"
        self.chats = mode != "active"
        self.extras = extras
        self.folders, self.odd_folders, self.keys_of_search = FOLDERS, ODD_FOLDERS, KEYS
        if not self.off:
            self.folders = [name for name in FOLDERS if "COI" not in name]
            self.odd_folders = [name for name in ODD_FOLDERS if "COI" not in name]
            self.keys_of_search = [
                key for key in KEYS if not re.search(r"\$Chat|MODSEQ", key)
            ]
        if "spaces" in extras:
            self.folders = [*self.folders, *SPACES]
        if "shared" in extras:
            self.folders = [*self.folders, *SHARED]
        self.number = 0
        self.steps = []
        self.begin()
        names, weights = zip(*self.mix().items())
        while len(self.steps) < length:
            (make,) = self.dice.choices(names, weights)
            make()

    # -- choices --

    def one(self, *of):
        return self.dice.choice(of)

    def often(self, chance):
        return self.dice.random() < chance

    def folder(self, odd=0.08):
        return self.dice.choice(self.odd_folders if self.often(odd) else self.folders)

    def existing_or_chats(self):
        """Not to be made, but all else may be done to it."""
        return "{p}COI{s}Chats" if self.often(0.06) and self.off else self.folder()

    def flags(self):
        flags = self.dice.sample(FLAGS, self.dice.randrange(4))
        if not self.off:
            flags = [flag for flag in flags if flag.lower() != "$chat"]
        return "(" + " ".join(flags) + ")"

    def set(self):
        return self.dice.choice(SETS)

    def keys(self):
        return " ".join(self.dice.sample(self.keys_of_search, self.dice.randrange(1, 3)))

    def letter(self):
        self.number += 1
        return letter(self.dice, self.number, self.chats)

    def session(self):
        return self.one(0, 0, 0, 1)

    def literal(self, data, binary=False):
        """In one piece with what is ahead of it, or after being asked for."""
        form = b"%s{%d%s}\r\n"
        if self.often(0.6):
            return [form % (b"~" if binary else b"", len(data), b"+"), data]
        return [form % (b"~" if binary else b"", len(data), b""), None, data]

    # -- steps --

    def begin(self):
        for _ in range(6):
            self.add("lmtp", "sender@example.org", "", ["{a}", "{b}"], "data", self.letter())
        for name in ("{p}Work", "{p}Chats", *(["{p}COI{s}Talk"] if self.off else [])):
            self.add("imap", 0, (f"CREATE {quoted(name)}",))
        self.add("imap", 1, ("SELECT INBOX",))
        self.add("imap", 1, ('COPY 1:* "{p}Work"',))
        self.add("imap", 0, ("SELECT INBOX",))

    def add(self, *step):
        self.steps.append(step)

    def say(self, *parts):
        """An IMAP command. A part that is None is where the server is to ask for more."""
        self.add("imap", self.session(), parts)

    def open(self):
        self.add("open", self.session(), self.often(0.3))

    def leave(self):
        session = self.session()
        if self.often(0.5):
            self.add("imap", session, ("LOGOUT",))
        self.add("drop", session)

    def select(self):
        options = self.one("", "", "", " (CONDSTORE)", " (QRESYNC (1 1))", " (BOGUS)")
        command = self.one("SELECT", "SELECT", "EXAMINE")
        self.say(f"{command} {quoted(self.existing_or_chats())}{options}")

    def fetch(self):
        self.say(f"{self.one('', 'UID ')}FETCH {self.set()} {self.dice.choice(ITEMS)}")

    def store(self):
        item = self.one("FLAGS", "+FLAGS", "-FLAGS", "+FLAGS.SILENT", "FLAGS.SILENT")
        condition = self.one("", "", "", "(UNCHANGEDSINCE 2) ", "(UNCHANGEDSINCE 99999) ")
        if not self.off:
            condition = condition.replace(" 2", " 99999")
        self.say(f"{self.one('', 'UID ')}STORE {self.set()} {condition}{item} {self.flags()}")

    def search(self):
        what = self.dice.randrange(3)
        uid, result = self.one("", "UID "), self.dice.choice(RETURNS)
        if what == 0:
            self.say(f"{uid}SORT {result}{self.dice.choice(SORTS)} UTF-8 {self.keys()}")
        elif what == 1:
            self.say(f"{uid}THREAD {self.one('REFERENCES', 'REFS', 'X')} UTF-8 {self.keys()}")
        else:
            self.say(f"{uid}SEARCH {result}{self.keys()}")

    def append(self):
        parts = [f"APPEND {quoted(self.existing_or_chats())}"]
        for _ in range(self.one(1, 1, 1, 3)):
            date = self.one("", "", ' "01-Feb-2003 04:05:06 +0000"')
            kind = self.dice.randrange(8)
            parts.append(f" {self.flags()}{date} ")
            if kind == 0:
                parts += ["CATENATE (TEXT ", *self.literal(self.letter()), ' URL "/INBOX/;UID=1")']
            elif kind == 1:
                parts += self.literal(self.letter(), binary=True)
            elif kind == 2:
                parts += ["UTF8 (", *self.literal(self.letter(), binary=True), ")"]
            else:
                parts += self.literal(self.letter())
        self.say(*parts)

    def copy(self):
        what = self.one("COPY", "MOVE", "MOVE")
        self.say(f"{self.one('', 'UID ')}{what} {self.set()} {quoted(self.existing_or_chats())}")

    def replace(self):
        self.say(f"REPLACE 1 {quoted(self.folder())} ", *self.literal(self.letter()))

    def expunge(self):
        self.say(self.one("EXPUNGE", "UID EXPUNGE 1:3", "CLOSE", "UNSELECT", "CHECK"))

    def arrange(self):
        what = self.dice.randrange(6)
        if what < 2:
            use = self.one("", "", "", " (USE (\\Trash))", " (USE (\\X))")
            self.say(f"CREATE {quoted(self.folder())}{use}")
        elif what == 2:
            self.say(f"DELETE {quoted(self.existing_or_chats())}")
        elif what == 3:
            # What has a folder named Chats in it, renamed to that, would enable COI.
            old, new = self.existing_or_chats(), self.folder()
            # INBOX has what a user of COI has set.
            if new.replace("{p}", "") != "COI" and (self.off or old.upper() != "INBOX"):
                self.say(f"RENAME {quoted(old)} {quoted(new)}")
        else:
            self.say(f"{self.one('', 'UN')}SUBSCRIBE {quoted(self.existing_or_chats())}")

    def list(self):
        self.say(
            self.one(
                'LIST "" "*"',
                'LSUB "" "*"',
                'LIST "" "%"',
                'LIST "" "{p}COI{s}%"',
                'LIST "{p}COI" "*"',
                'LIST (SUBSCRIBED RECURSIVEMATCH) "" "%" RETURN (CHILDREN)',
                'LIST "" ("*") RETURN (SPECIAL-USE SUBSCRIBED)',
                'LIST (SPECIAL-USE) "" "*"',
                'LIST "" "*" RETURN (STATUS (MESSAGES UNSEEN UIDNEXT HIGHESTMODSEQ))',
                'LIST "" "*" RETURN (MYRIGHTS)',
                'LIST "" ""',
                'LIST (REMOTE) "" ("INBOX" "*s") RETURN (CHILDREN)',
                'LIST "" "*" RETURN (X)',
                'XLIST "" "*"',
                "NAMESPACE",
            )
        )

    def status(self):
        self.say(f"STATUS {quoted(self.existing_or_chats())} {self.dice.choice(STATUS)}")

    def metadata(self):
        box = self.one('""', '""', quoted(self.folder()))
        if self.often(0.5):
            options = ("", "", "(DEPTH 1) ", "(DEPTH infinity) ", "(DEPTH 0) ", "(MAXSIZE 3) ")
            names = " ".join(self.dice.sample(ENTRIES, self.one(1, 1, 3)))
            self.say(f"GETMETADATA {self.dice.choice(options)}{box} ({names})")
            return
        # One that is refused ahead of others or of a literal may end stock Dovecot's process.
        names = self.dice.sample([name for name in ENTRIES if name[:1] == "/"], self.one(1, 1, 2))
        words = "".join(name + self.one(" NIL ", ' "value" ', ' "" ') for name in names[1:])
        literal = self.literal(b"some value\r\n\xff")
        value = self.one(["NIL"], ['"value"'], ['""'] if words else literal, ['""'])
        self.say(f"SETMETADATA {box} ({words}{names[0]} ", *value, ")")

    def rights(self):
        box = quoted(self.existing_or_chats())
        self.say(
            self.one(
                f"MYRIGHTS {box}",
                f"GETACL {box}",
                f"SETACL {box} {{b}} lrs",
                f"DELETEACL {box} {{b}}",
                f"LISTRIGHTS {box} {{b}}",
                f"SETACL {box} {{a}} {self.one('lrwstipekxa', 'lra', '-k', '-x')}",
                f"GETQUOTAROOT {box}",
                'GETQUOTA "User quota"',
            )
        )

    def other(self):
        self.say(
            self.one(
                *("NOOP", "NOOP", "CAPABILITY", "ID NIL", "ENABLE CONDSTORE", "ENABLE QRESYNC"),
                *("ENABLE UTF8=ACCEPT", "CHECK", "COMPRESS BOGUS", "CANCELUPDATE x", "GETQUOTA x"),
                *('ESEARCH IN (personal) ALL', "GENURLAUTH x", "UNAUTHENTICATE", "LANGUAGE"),
                *("X-STATE", "NOTIFY NONE", "UIDBATCHES 10", "INPROGRESS", "RESETKEY"),
            )
        )

    def compress(self):
        self.add("compress", self.session())

    def malformed(self):
        line = self.dice.choice(MALFORMED)
        if self.often(0.2):
            line = "x " + "".join(chr(self.dice.randrange(32, 127)) for _ in range(12))
            # A literal would swallow what comes next.
            line = re.sub(r"[{}]", "", line)
        self.add("raw", self.session(), line.encode("latin-1"))

    def pipeline(self):
        session = self.session()
        mark = len(self.steps)
        for _ in range(self.dice.randrange(2, 7)):
            self.one(self.fetch, self.store, self.search, self.status, self.copy, self.list)()
        commands = [step[2] for step in self.steps[mark:]]
        del self.steps[mark:]
        cuts = sorted(self.dice.random() for _ in range(self.dice.randrange(3)))
        self.add("pipeline", session, commands, cuts)

    def recipients(self):
        return [
            self.one("{a}", "{a}", "{b}", "{a}+{p}Work", "{b}+Chats", "{a}+none", "nobody here")
            for _ in range(self.one(1, 1, 1, 2, 3))
        ]

    def deliver(self):
        params = self.one(*[""] * 8, " BODY=8BITMIME", " BODY=8BITMIME", " SIZE=100", " BODY=X")
        how = self.one("data", "data", "bdat", "bdat")
        sender = self.one("sender@example.org", "", "x")
        self.add("lmtp", sender, params, self.recipients(), how, self.letter())

    def odd_lmtp(self):
        lines = self.dice.sample(
            [
                *("DATA", "RCPT TO:<{a}>", "MAIL FROM:<>", "RSET", "VRFY {a}", "NOOP", "HELO x"),
                *("BDAT 0 LAST", "MAIL FROM:<a@b> SMTPUTF8", "RCPT TO:<@>", "RCPT TO:<{a}> X=1"),
                *("BDAT x", "XCLIENT ADDR=1.2.3.4", "LHLO", "HELP", "MAIL FROM:a", ""),
            ],
            5,
        )
        self.add("lmtp-lines", [line for line in lines if line != "DATA"])

    def lda(self):
        options = self.one([], [], ["-m", "{p}Work"], ["-m", "{p}Chats"], ["-m", "none"], ["-e"])
        if self.often(0.3):
            options = [*options, "-f", "sender@example.org"]
        self.add("lda", options, self.letter().replace(b"\r\n", b"\n"))

    def pop3(self):
        lines = [
            self.one(
                *("STAT", "LIST", "UIDL", "RETR 1", "RETR 2", "RETR 99", "TOP 1 0", "TOP 2 5"),
                *("DELE 1", "DELE 3", "RSET", "NOOP", "LAST", "CAPA", "UIDL 1", "LIST 2", "XYZ"),
            )
            for _ in range(self.dice.randrange(1, 8))
        ]
        self.add("pop3", lines + self.one(["QUIT"], ["QUIT"], []))

    def doveadm(self):
        box, other = self.existing_or_chats(), self.folder()
        query = self.one(["ALL"], ["SEEN"], ["KEYWORD", "k1"], ["UID", "1:3"], ["UNSEEN"])
        where = ["mailbox", self.folder(odd=0), *query]
        user = ["-u", "{a}"]
        how, flag = self.one("add", "remove", "replace"), self.one("\\Seen", "k1")
        below = self.one([], ["/private"], ["/shared"])
        fields = "uid guid flags size.virtual size.physical hdr text date.received mailbox modseq"
        keyed = ["-s", ""] if self.often(0.5) else [box]
        words = self.one(
            *(["fetch", *user, fields, *where], ["search", *user, *where]),
            *(["move", *user, other, *where], ["copy", *user, other, *where]),
            *(["expunge", *user, *where], ["deduplicate", *user, *where]),
            ["flags", how, *user, flag, *where],
            *(["mailbox", "list", *user], ["mailbox", "list", "-s", *user]),
            ["mailbox", "status", *user, "messages uidnext unseen highestmodseq vsize", "*"],
            ["mailbox", "status", "-t", *user, "all", self.one("*", box)],
            ["mailbox", self.one("create", "subscribe"), *user, other],
            ["mailbox", self.one("delete", "unsubscribe"), *user, box],
            ["mailbox", "delete", "-r", *user, box],
            ["mailbox", "metadata", "list", *user, *keyed, *below],
            ["mailbox", "metadata", "set", *user, *keyed, self.dice.choice(ENTRIES), "value"],
            ["mailbox", "metadata", "get", *user, *keyed, self.dice.choice(ENTRIES)],
            ["mailbox", "metadata", "unset", *user, *keyed, self.dice.choice(ENTRIES)],
            ["mailbox", "path", *user, box],
            ["mailbox", "cache", "decision", "--all", *user, box],
            *(["force-resync", *user, "*"], ["index", *user, "*"], ["purge", *user]),
            *(["altmove", *user, "ALL"], ["altmove", "-r", *user, "ALL"], ["user", "{a}"]),
            *(["quota", "get", *user], ["quota", "recalc", *user], ["acl", "get", *user, box]),
            ["acl", "rights", *user, box],
            ["backup", *user, "{copy}"],
            ["import", *user, "{copy}", self.one("", "{p}Back"), "ALL"],
            ["rebuild", "attachments", *user, "ALL"],
        )
        if words[:2] == ["mailbox", "create"] and other.replace("{p}", "") == "COI{s}Chats":
            return
        if "metadata" in words:
            self.add("doveadm", words, b"")
            return
        form = self.one([], [], ["-f", "tab"], ["-f", "json"], ["-f", "flow"], ["-f", "pager"])
        self.add("doveadm", [*form, *words], b"")

    def save(self):
        self.add("doveadm", ["save", "-u", "{a}", "-m", self.folder()], self.letter())

    def idle(self):
        """Somebody else does one thing meanwhile."""
        session = self.session()
        self.add("imap", session, (f"SELECT {quoted(self.one('INBOX', '{p}Work'))}",))
        mark = len(self.steps)
        self.one(self.deliver, self.lda)()
        (step,) = self.steps[mark:]
        del self.steps[mark:]
        self.add("idle", session, step)

    def notify(self):
        session = self.session()
        mark = len(self.steps)
        self.one(self.deliver, self.lda, self.arrange_elsewhere)()
        steps = self.steps[mark:]
        del self.steps[mark:]
        self.add("notify", session, self.dice.choice(NOTIFIES), steps)

    def arrange_elsewhere(self):
        what = self.one("create", "delete")
        self.add("doveadm", ["mailbox", what, "-u", "{a}", self.folder(odd=0)], b"")

    def mix(self):
        mix = {
            self.open: 4,
            self.leave: 2,
            self.select: 14,
            self.fetch: 14,
            self.store: 12,
            self.search: 8,
            self.append: 8,
            self.copy: 8,
            self.replace: 1,
            self.expunge: 5,
            self.arrange: 14,
            self.list: 6,
            self.status: 5,
            self.metadata: 8,
            self.other: 4,
            self.malformed: 4,
            self.pipeline: 4,
            self.deliver: 16,
            self.odd_lmtp: 1,
            self.lda: 4,
            self.doveadm: 16,
            self.save: 2,
            self.compress: 0.5,
        }
        if "rights" in self.extras:
            mix[self.rights] = 6
        if "pop3" in self.extras:
            mix[self.pop3] = 4
        if "told" in self.extras:
            mix[self.idle] = 2
            mix[self.notify] = 1
        return mix
