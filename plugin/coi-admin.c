/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "array.h"
#include "mail-storage-private.h"
#include "mail-namespace.h"
#include "coi-core.h"
#include "coi-folders.h"
#include "coi-metadata.h"
#include "coi-subscriptions.h"
#include "coi-user.h"
#include "coi-admin.h"

static int admin_count_mails(struct mail_user *user, const char *vname,
			     int *count_r, const char **error_r)
{
	struct mail_namespace *ns = coi_user_inbox_namespace(user);
	enum mailbox_existence existence;
	struct mailbox_status status;
	struct mailbox *box;
	int ret;

	*count_r = -1;
	box = mailbox_alloc(ns->list, vname,
			    MAILBOX_FLAG_READONLY | MAILBOX_FLAG_IGNORE_ACLS);
	ret = mailbox_exists(box, FALSE, &existence);
	if (ret == 0 && existence == MAILBOX_EXISTENCE_SELECT) {
		ret = mailbox_get_status(box, STATUS_MESSAGES, &status);
		*count_r = (int)I_MIN(status.messages, INT_MAX);
	}
	if (ret < 0) {
		*error_r = t_strdup_printf(
			"Can't look at %s: %s", vname,
			mailbox_get_last_internal_error(box, NULL));
	}
	mailbox_free(&box);
	return ret;
}

static int admin_check_offered(struct mail_user *user, const char **error_r)
{
	if (coi_user_is_offered(user))
		return 0;
	*error_r = "COI is off for this user";
	return -1;
}

static int
admin_count_subscriptions(struct mail_user *user,
			  struct coi_admin_status *status, const char **error_r)
{
	ARRAY_TYPE(coi_admin_subscription) subs;
	const struct coi_admin_subscription *sub;

	if (coi_push_settings(user) == NULL) {
		status->subscriptions = status->device_tokens = -1;
		return 0;
	}
	t_array_init(&subs, 16);
	if (coi_admin_get_subscriptions(user, &subs, error_r) < 0)
		return -1;
	array_foreach(&subs, sub) {
		if (sub->info.is_device_token)
			status->device_tokens++;
		else
			status->subscriptions++;
	}
	return 0;
}

int coi_admin_get_status(struct mail_user *user,
			 struct coi_admin_status *status_r,
			 const char **error_r)
{
	struct coi_config config;

	i_zero(status_r);
	if (admin_check_offered(user, error_r) < 0)
		return -1;
	/* logs why */
	if (coi_config_read(user, NULL, &config) < 0) {
		*error_r = "Can't read the user's metadata";
		return -1;
	}
	status_r->enabled = config.enabled;
	if (config.enabled)
		status_r->filter = coi_filter_name(config.filter);
	status_r->root = coi_folder_root(user);
	if (admin_count_mails(user, coi_folder_chats(user), &status_r->chats,
			      error_r) < 0 ||
	    admin_count_mails(user, coi_folder_contacts(user),
			      &status_r->contacts, error_r) < 0)
		return -1;
	return admin_count_subscriptions(user, status_r, error_r);
}

int coi_admin_get_subscriptions(struct mail_user *user,
				ARRAY_TYPE(coi_admin_subscription) *subs,
				const char **error_r)
{
	const struct coi_push *push = coi_push_get(user->event);
	struct coi_admin_subscription *added;
	ARRAY_TYPE(coi_subscription) stored;
	const struct coi_subscription *sub;

	if (admin_check_offered(user, error_r) < 0)
		return -1;
	if (coi_push_settings(user) == NULL)
		return 0;
	if (push == NULL) {
		*error_r = "The core library isn't loaded";
		return -1;
	}
	t_array_init(&stored, 16);
	if (coi_subscriptions_read_live(user, NULL, pool_datastack_create(),
					&stored, error_r) < 0)
		return -1;
	array_foreach(&stored, sub) {
		added = array_append_space(subs);
		added->id = sub->id;
		if (!push->subscription_get_info(coi_bytes_from_str(sub->json),
						 &added->info))
			array_pop_back(subs);
	}
	return 0;
}
