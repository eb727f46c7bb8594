/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_WEBPUSH_PRIVATE_H
#define COI_WEBPUSH_PRIVATE_H

/* What coi-webpush.c notes while a transaction goes on, and
   coi-webpush-commit.c makes. */

#include "coi-handoff.h"
#include "coi-webpush.h"

#define COI_WEBPUSH_ERROR_UNAVAILABLE "Push is not available at the moment"

enum coi_webpush_op {
	/* Create or replace. */
	COI_WEBPUSH_SUBSCRIBE,
	COI_WEBPUSH_UNSUBSCRIBE,
	COI_WEBPUSH_VALIDATE,
	COI_WEBPUSH_SET_TOKEN,
	COI_WEBPUSH_UNSET_TOKENS,
};

struct coi_webpush_change {
	enum coi_webpush_op op;
	const char *id;
	/* SUBSCRIBE: what the client has set. VALIDATE: the text. SET_TOKEN: the
	   token. UNSUBSCRIBE: what has to be stored if it is to be removed, or
	   NULL for whatever it is. */
	const char *text;
	/* SUBSCRIBE: what is to be stored */
	char *json;
};

struct coi_webpush *
coi_webpush_get_changes(struct mailbox_transaction_context *t);
/* Copies the id; the text must be in the pool of the changes. */
void coi_webpush_add_change(struct coi_webpush *webpush, enum coi_webpush_op op,
			    const char *id, const char *text);
/* What waits for one that was stored so isn't to be sent any more. Copies both. */
void coi_webpush_dismiss(struct coi_webpush *webpush, const char *id,
			 const char *json);
/* The first reason is the one that the client is told. It isn't copied. */
void coi_webpush_refuse(struct coi_webpush *webpush, enum mail_error code,
			const char *reason);

/* Tells the service of them, or asks, as many at a time as a request may have. Adds those
   to gone, which may be NULL, that it says are. Returns -1 (and error_r) if it doesn't
   answer. Not where push is off. */
int coi_webpush_ask_about(struct mail_user *user,
			  coi_handoff_write_about_t *write_about,
			  const ARRAY_TYPE(coi_subscription) *subs,
			  ARRAY_TYPE(coi_subscription) *gone,
			  const char **error_r);
/* Adds to gone those that the service knows to be. */
void coi_webpush_ask_gone(struct mail_user *user,
			  const ARRAY_TYPE(coi_subscription) *subs,
			  ARRAY_TYPE(coi_subscription) *gone);
bool coi_webpush_is_gone(struct mail_user *user,
			 const struct coi_subscription *sub);

#endif
