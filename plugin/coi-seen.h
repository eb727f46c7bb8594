/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_SEEN_H
#define COI_SEEN_H

/* message-filter "seen" (FIL-3): chat mail in INBOX that gets \Seen is moved
   to the Chats folder right after the flag change is committed; where an IMAP client
   fetches a piece of it, once that session does something else, or nothing. */

#include "seq-range-array.h"

struct file_lock;
struct mailbox;
struct mail_user;
struct mailbox_transaction_context;

/* What a transaction on INBOX changes. */
struct coi_seen {
	/* UIDs of the chat mails that get \Seen; not created if there are none */
	ARRAY_TYPE(seq_range) uids;
	/* sequences that a conditional STORE doesn't change, complete after the
	   commit; NULL for any other command */
	const ARRAY_TYPE(seq_range) *conflict_seqs;
	/* 1 if they are to be moved, 0 if not, -1 if that can't be told */
	int on;
};

/* Of any mailbox. Notes, too, what is to be moved, so that it is known if the process is
   killed. To be followed by coi_seen_deinit(). */
void coi_seen_before_commit(struct coi_seen *seen,
			    struct mailbox_transaction_context *t);
/* Moves the mails. A failure is logged, and leaves them in INBOX until the next
   move; it is no failure of the flag change. */
void coi_seen_after_commit(struct coi_seen *seen, struct mailbox *box);
void coi_seen_deinit(struct coi_seen *seen);

/* Moves what the user's session has fetched pieces of, if anything. It does so by itself
   where that isn't called, nor coi_seen_wait_anew(), for 5 seconds. */
void coi_seen_move_later(struct mail_user *user);
/* The session is still at it. */
void coi_seen_wait_anew(struct mail_user *user);

/* Keeps the user's sessions from moving seen mail, and waits for the one that does.
   As coi_lock_create() does it. */
int coi_seen_lock(struct mailbox *inbox, struct file_lock **lock_r,
		  const char **error_r);

#endif
