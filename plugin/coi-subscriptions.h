/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_SUBSCRIPTIONS_H
#define COI_SUBSCRIPTIONS_H

/* A user's stored push subscriptions. Each is a value in the dict with the
   user's server metadata. How they get there and change is in
   coi-webpush-commit.c. */

#include "mail-storage.h"
#include "coi-handoff.h"

struct coi_settings;
struct mail_user;
struct mailbox;

/* What GETMETADATA "" calls /private/vendor/vendor.dovecot/webpush/ */
#define COI_WEBPUSH_KEY_PREFIX                      \
	MAILBOX_ATTRIBUTE_PREFIX_DOVECOT_PVT_SERVER \
	MAILBOX_ATTRIBUTE_PREFIX_DOVECOT "webpush/"
#define COI_SUBSCRIPTIONS_NAME_PREFIX "subscriptions/"
#define COI_SUBSCRIPTIONS_KEY_PREFIX \
	COI_WEBPUSH_KEY_PREFIX COI_SUBSCRIPTIONS_NAME_PREFIX

/* Returns the settings if push is offered to the user, NULL if not. Why not is
   logged once a process. */
const struct coi_settings *coi_push_settings(struct mail_user *user);

/* FALSE if it is certain, and cheap to find out, that the user has no
   subscription. */
bool coi_subscriptions_may_exist(struct mail_user *user);

/* TRUE if the user has a subscription that is live. */
bool coi_subscriptions_exist(struct mail_user *user);

/* Adds what is stored, in the order of the ids and allocated from pool, whether
   it is live or not. inbox is INBOX, opened if it has to be, or NULL. Returns 0
   if ok, -1 if error. Needs the push library. */
int coi_subscriptions_read(struct mail_user *user, struct mailbox *inbox,
			   pool_t pool, ARRAY_TYPE(coi_subscription) *subs,
			   const char **error_r);

/* The same for what counts: subscriptions that are live, and no more of them
   than the admin allows a user now. Others are neither shown nor used. */
int coi_subscriptions_read_live(struct mail_user *user, struct mailbox *inbox,
				pool_t pool, ARRAY_TYPE(coi_subscription) *subs,
				const char **error_r);

/* The same for a delivery, with what they wish. One that is damaged may be among
   them. */
int coi_subscriptions_read_wishes(struct mail_user *user, pool_t pool,
				  ARRAY_TYPE(coi_subscription) *subs,
				  const char **error_r);

/* Adds to the transaction that the attribute with that key, one below
   COI_WEBPUSH_KEY_PREFIX, gets that value. As attribute_set() of struct
   mailbox_vfuncs, but Dovecot's debug log doesn't show the value. */
int coi_subscription_write(struct mailbox_transaction_context *t,
			   const char *key, const char *value, time_t changed);

#endif
