/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_LOCK_H
#define COI_LOCK_H

/* Lock files, for what a user's sessions do one after the other. They lie next
   to INBOX's index, or where that is in memory only or may be one of several of the same
   maildir, next to its control files. */

struct file_lock;
struct mailbox;

/* Where they lie, and what goes with them, or NULL for a mailbox that has no files here.
   The mailbox must be open. */
const char *coi_lock_get_dir(struct mailbox *inbox);

/* The mailbox must be open. Waits that long at most. Returns 1 if locked (free
   it with file_lock_free()), 0 if another session keeps it too long, -1 if
   error; error_r is set for both. */
int coi_lock_create(struct mailbox *inbox, const char *name, unsigned int secs,
		    struct file_lock **lock_r, const char **error_r);

#endif
