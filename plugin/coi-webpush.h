/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_WEBPUSH_H
#define COI_WEBPUSH_H

/* The push entries webpush/ in the user's server metadata (SUB-1..12): how
   clients read and set them. */

#include "mail-storage-private.h"
#include "coi-handoff.h"

struct file_lock;

/* What a transaction on INBOX asks of its commit. */
struct coi_webpush {
	/* NULL while there is nothing */
	pool_t pool;
	ARRAY(struct coi_webpush_change) changes;
	/* What was stored, and is no more, because a client wants it so. */
	ARRAY_TYPE(coi_subscription) dismissed;
	/* held while the changes are being stored */
	struct file_lock *lock;
	/* It is not waited for. */
	bool impatient;
	/* One of them was refused: the reason for the client. The commit fails,
	   and nothing is changed. */
	const char *refused;
	enum mail_error refused_code;
};

void coi_webpush_init(void);
void coi_webpush_deinit(void);

/* Frees what belongs to a transaction that has ended. */
void coi_webpush_free(struct coi_webpush *webpush);

/* TRUE if the attribute is one of ours, and it isn't dsync who asks: that
   copies what is stored, with the secrets. */
bool coi_webpush_owns(struct mailbox *box, enum mail_attribute_type type_flags,
		      const char *key);

/* As attribute_get() and attribute_set() of struct mailbox_vfuncs, for an
   attribute of ours. In a listing, coi_webpush_before_list() has removed what is
   gone; else the service is asked. */
int coi_webpush_get(struct mailbox *box, const char *key, bool listing,
		    struct mail_attribute_value *value_r);
int coi_webpush_set(struct mailbox_transaction_context *t, const char *key,
		    const struct mail_attribute_value *value);

/* For coi-device-token.c: what a transaction is to do with tokens. Like
   coi_webpush_set(), these don't fail; the commit does. Returns the value (in the
   transaction's pool), or NULL where it is refused already. */
const char *coi_webpush_read_value(struct mailbox_transaction_context *t,
				   const struct mail_attribute_value *value,
				   size_t max_size);
void coi_webpush_set_device_token(struct mailbox_transaction_context *t,
				  const char *id, const char *token);
void coi_webpush_unset_device_tokens(struct mailbox_transaction_context *t);
void coi_webpush_set_refused(struct mailbox_transaction_context *t,
			     const char *reason);

/* dsync sets or unsets an attribute of ours: what is to be stored, with
   attribute_set() of super. */
bool coi_webpush_is_copied(struct mailbox *box,
			   enum mail_attribute_type type_flags,
			   const char *key);
int coi_webpush_copy(struct mailbox_transaction_context *t, const char *key,
		     const struct mail_attribute_value *value,
		     const struct mailbox_vfuncs *super);

/* Called before attributes whose keys begin with prefix are listed. */
void coi_webpush_before_list(struct mailbox *box,
			     enum mail_attribute_type type_flags,
			     const char *prefix);

/* Called before the commit, in this order: asks the push services about new
   subscriptions, and adds the changes to the transaction, with attribute_set()
   of super. Both return -1 after setting the storage's error, if anything is
   refused. */
int coi_webpush_register(struct coi_webpush *webpush,
			 struct mailbox_transaction_context *t);
int coi_webpush_store(struct coi_webpush *webpush,
		      struct mailbox_transaction_context *t,
		      const struct mailbox_vfuncs *super);

/* Called after the commit: what waits for subscriptions that were removed or
   replaced isn't to be sent any more. If the service can't be told, it is. */
void coi_webpush_stored(struct coi_webpush *webpush, struct mail_user *user);

/* Removes the subscriptions, as far as they are still what they were. A caller
   that is impatient doesn't wait for others who change them; the service says
   again that they are gone. */
void coi_webpush_forget(struct mail_user *user, bool impatient,
			const ARRAY_TYPE(coi_subscription) *subs);

/* Adds to gone those of the subscriptions that the service's answer says are
   gone. */
void coi_webpush_get_gone(const struct coi_handoff_answer *answer,
			  const ARRAY_TYPE(coi_subscription) *subs,
			  ARRAY_TYPE(coi_subscription) *gone);

#endif
