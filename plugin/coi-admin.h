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
	bool enabled;
	/* NULL where it isn't enabled */
	const char *filter;
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

/* Both return -1 if COI isn't available to the user, or if something can't be
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

#endif
