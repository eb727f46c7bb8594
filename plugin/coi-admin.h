/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_ADMIN_H
#define COI_ADMIN_H

/* What doveadm's own module (doveadm/coi-doveadm.c) asks of the mail plugin. It
   changes nothing, and makes no folder. */

#include "coi-plugin.h"
#include "coi-push.h"

struct mail_user;

struct coi_admin_status {
	/* The admin wants no COI for the user. */
	bool excluded;
	bool enabled;
	/* NULL where it isn't enabled */
	const char *filter;
	/* NULL for an excluded user */
	const char *root;
	/* Mails in the folders; -1 where there is no such folder. */
	int chats, contacts;
	/* Of those that count; -1 where push isn't offered to the user. */
	int subscriptions, device_tokens;
};

struct coi_admin_subscription {
	const char *id;
	struct coi_subscription_info info;
};
ARRAY_DEFINE_TYPE(coi_admin_subscription, struct coi_admin_subscription);

enum coi_admin_queue_number {
	COI_QUEUE_WAITING,
	COI_QUEUE_IN_FLIGHT,
	/* what came of tries since coi-push has started */
	COI_QUEUE_DELIVERED,
	COI_QUEUE_DEFERRED,
	COI_QUEUE_DROPPED,
	COI_QUEUE_GONE,
	/* tries since a push was last taken */
	COI_QUEUE_FAILURES,
	/* when it is tried; 0 for now */
	COI_QUEUE_NEXT,
	/* since when a push waits; 0 if it has just been taken */
	COI_QUEUE_OLDEST,

	COI_QUEUE_NUMBERS
};

/* What waits in the queue of coi-push, for one push service or for several. */
struct coi_admin_queue_row {
	/* scheme, host and port, or what else it is */
	const char *service;
	/* -1 for none */
	int64_t numbers[COI_QUEUE_NUMBERS];
};
ARRAY_DEFINE_TYPE(coi_admin_queue, struct coi_admin_queue_row);

/* The first two return -1 if COI isn't available to the user, or if something can't be
   read: error_r is for the admin. Texts are in the data stack. */
COI_EXPORT int
coi_admin_get_status(struct mail_user *user, struct coi_admin_status *status_r,
		     const char **error_r);
/* Adds the subscriptions that count, device tokens last. None is there where push
   isn't offered to the user. */
COI_EXPORT int
coi_admin_get_subscriptions(struct mail_user *user,
			    ARRAY_TYPE(coi_admin_subscription) *subs,
			    const char **error_r);
/* Adds a row for all, one for each push service that has pushes waiting, and one
   for those that are too many to be told. Returns -1 if coi-push doesn't tell. */
COI_EXPORT int
coi_admin_get_queue(const char *base_dir, ARRAY_TYPE(coi_admin_queue) *queue,
		    const char **error_r);

#endif
