/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_MAILBOX_H
#define COI_MAILBOX_H

/* Our hooks into mailboxes and mails: one place for all of them. What they do is in
   the files whose headers coi-mailbox.c includes. */

#include "mail-storage-private.h"
#include "coi-metadata.h"
#include "coi-webpush.h"

/* Our part of a transaction. Exists only for a transaction that does
   something that we care for. */
struct coi_transaction {
	union mailbox_transaction_module_context module_ctx;

	struct coi_metadata_changes metadata;
	struct coi_webpush webpush;
	/* it moves mail here from another mailbox */
	bool moving;
};

void coi_mailbox_allocated(struct mailbox *box);
void coi_mail_allocated(struct mail *mail);

/* Returns our part of the transaction, created if there is none. Only for a
   mailbox whose user is ours. */
struct coi_transaction *
coi_transaction_get(struct mailbox_transaction_context *t);

#endif
