/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_SEEN_JOURNAL_H
#define COI_SEEN_JOURNAL_H

/* What a move of seen mail was about to do, so that the next one can finish it
   if the process is killed between storing the copies and expunging the
   originals, or the move failed. A file there only meanwhile, next to the lock for moves
   (coi-lock.h), which the caller holds.

   Format, one line each, ended by LF:
     journal = "2" TAB uidvalidity LF *(first TAB last LF)
   uidvalidity and UIDs are those of INBOX, in decimal. Each line has a range of
   mails.

   Beside it there may be another file, with what somebody is about to make \Seen, or had
   to move and didn't get the lock, or moves later:
     late = *([uidvalidity TAB first TAB last] LF)
   Who reads the journal renames that file, and it is then part of it: what a move that
   was killed had renamed before is put into the journal first. Lines of it that are
   damaged are passed over. */

#include "seq-range-array.h"

struct mailbox;

#define COI_SEEN_JOURNAL_NAME "dovecot-coi.moving"
#define COI_SEEN_JOURNAL_LATE_NAME COI_SEEN_JOURNAL_NAME ".late"
#define COI_SEEN_JOURNAL_TAKEN_NAME COI_SEEN_JOURNAL_NAME ".taken"

/* Returns 0 if ok, -1 if error. */
int coi_seen_journal_write(struct mailbox *inbox,
			   const ARRAY_TYPE(seq_range) *uids,
			   const char **error_r);
/* Notes the mails for who reads the journal next, without the lock. Returns 1 if it has,
   0 if there is no place for it, -1 if error. */
int coi_seen_journal_add_late(struct mailbox *inbox,
			      const ARRAY_TYPE(seq_range) *uids,
			      const char **error_r);
/* Adds the journal's mails to uids, and those that nobody has begun to move to late.
   Returns 1 if there is a journal, 0 if not. One that belongs to an INBOX of another
   UIDVALIDITY has no mails, and a damaged one those before the damage. -1 if error. */
int coi_seen_journal_read(struct mailbox *inbox, ARRAY_TYPE(seq_range) *uids,
			  ARRAY_TYPE(seq_range) *late, const char **error_r);
void coi_seen_journal_remove(struct mailbox *inbox);

#endif
