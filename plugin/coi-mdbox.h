/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_MDBOX_H
#define COI_MDBOX_H

/* A copy in an mdbox shares the file of its mail, and the storage's map counts how
   many mails do: who expunges one counts down, and a purge removes what none is left
   of. Dovecot counts a copy only after it is in its mailbox. Who is killed in between,
   or can't sync the mailbox's index then, which Dovecot calls a success, leaves a
   copy that isn't counted. With the original it would lose its file. */

struct mail;
struct mailbox;
struct mailbox_transaction_context;

struct coi_mdbox_file {
	/* its UID in the map, 0 where copies are files of their own */
	uint32_t map_uid;
	/* mails that share it, as far as they are counted */
	unsigned int references;
};

/* TRUE if what was last copied in the transaction, which isn't committed yet, shares
   the file of its mail. It doesn't where a plugin, as mail_crypt for the keys of
   folders, has it stored anew. */
bool coi_mdbox_is_shared(struct mailbox_transaction_context *t);
/* Looks up the file that a copy of the mail in the other mailbox shares. */
void coi_mdbox_get_file(struct mail *mail, struct mailbox *copies_in,
			struct coi_mdbox_file *file_r);
/* Counts one mail more for each of the files, in one transaction. Returns 0, or -1 and
   then has counted none. */
int coi_mdbox_add_references(struct mailbox *box,
			     const ARRAY_TYPE(uint32_t) *map_uids,
			     const char **error_r);

#endif
