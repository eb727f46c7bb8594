/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_SEEN_JOURNAL_H
#define COI_SEEN_JOURNAL_H

/* What a move of seen mail was about to do, so that the next one can finish it
   if the process is killed between storing the copies and expunging the
   originals. A file there only while a move is on, next to INBOX's index, or
   where that is in memory only, next to its control files. The caller holds the
   lock for moves, which is in the same place.

   Format, one line each, ended by LF:
     journal = "1" TAB uidvalidity LF *(uid TAB guid LF)
   uidvalidity and uid are those of INBOX, in decimal; guid is the mail's, and
   not empty. */

struct mailbox;

struct coi_seen_journal_entry {
	uint32_t uid;
	char *guid;
	/* not in the file: the copy is known to be stored */
	bool stored;
};
ARRAY_DEFINE_TYPE(coi_seen_journal, struct coi_seen_journal_entry);

#define COI_SEEN_JOURNAL_NAME "dovecot-coi.moving"

/* The folder for both, or NULL for a mailbox that has no files here. */
const char *coi_seen_journal_dir(struct mailbox *inbox);

/* Returns 0 if ok, -1 if error. */
int coi_seen_journal_write(struct mailbox *inbox,
			   const ARRAY_TYPE(coi_seen_journal) *entries,
			   const char **error_r);
/* Adds the entries of the journal, allocated from pool. Returns 1 if there is
   a journal, 0 if not. One that is damaged, or belongs to an INBOX of another
   UIDVALIDITY, has no entries. -1 if error. */
int coi_seen_journal_read(struct mailbox *inbox, pool_t pool,
			  ARRAY_TYPE(coi_seen_journal) *entries,
			  const char **error_r);
void coi_seen_journal_remove(struct mailbox *inbox);

#endif
