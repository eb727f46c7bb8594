/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "str-sanitize.h"
#include "mail-storage-private.h"
#include "mail-namespace.h"
#include "coi-core.h"
#include "coi-folders.h"
#include "coi-handoff.h"
#include "coi-metadata.h"
#include "coi-subscriptions.h"
#include "coi-user.h"
#include "coi-admin.h"

/* It looks through all of its queue, and may have other things to do. */
#define ADMIN_QUEUE_TIMEOUT_MSECS 10000

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
	*error_r = coi_user_lacks_home(user) ?
		"COI is off for this user: The user has no home" :
		"COI is off for this user";
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
	if (coi_user_is_excluded(user)) {
		status_r->excluded = TRUE;
		status_r->chats = status_r->contacts = -1;
		status_r->subscriptions = status_r->device_tokens = -1;
		return 0;
	}
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
	struct coi_admin_subscription *added;
	ARRAY_TYPE(coi_subscription) stored;
	const struct coi_subscription *sub;
	const struct coi_push *push;

	if (coi_user_is_excluded(user))
		return 0;
	if (admin_check_offered(user, error_r) < 0)
		return -1;
	if (coi_push_settings(user) == NULL)
		return 0;
	push = coi_push_get(user->event);
	if (push == NULL) {
		*error_r = "The push library isn't loaded";
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

static struct coi_admin_queue_row *
admin_queue_add(ARRAY_TYPE(coi_admin_queue) *queue, const char *service)
{
	struct coi_admin_queue_row *row = array_append_space(queue);
	unsigned int i;

	row->service = service;
	for (i = 0; i < COI_QUEUE_NUMBERS; i++)
		row->numbers[i] = -1;
	return row;
}

static int admin_queue_parse(const char *const *words, int64_t *numbers)
{
	unsigned int i;

	for (i = 0; i < COI_QUEUE_NUMBERS; i++) {
		if (words[i] == NULL || str_to_int64(words[i], &numbers[i]) < 0)
			return -1;
	}
	return 0;
}

/* docs/handoff.md */
static int admin_queue_add_answer(const struct coi_handoff_answer *answer,
				  ARRAY_TYPE(coi_admin_queue) *queue)
{
	static const char *const names[] = { "queued",	  "in-flight",
					     "delivered", "deferred",
					     "dropped",	  "gone" };
	struct coi_admin_queue_row *row = admin_queue_add(queue, "all");
	const char *const *words;
	const char *value;
	unsigned int i, pos;

	for (i = 0; i < N_ELEMENTS(names); i++) {
		pos = 0;
		value = coi_handoff_answer_next(answer, names[i], &pos);
		if (value == NULL || str_to_int64(value, &row->numbers[i]) < 0)
			return -1;
	}
	pos = 0;
	while ((value = coi_handoff_answer_next(answer, "service", &pos)) !=
	       NULL) {
		words = t_strsplit(value, " ");
		/* of an empty text; then there is nothing behind it either */
		if (words[0] == NULL)
			return -1;
		row = admin_queue_add(queue, words[0]);
		if (admin_queue_parse(words + 1, row->numbers) < 0)
			return -1;
	}
	pos = 0;
	value = coi_handoff_answer_next(answer, "more", &pos);
	if (value == NULL)
		return 0;
	words = t_strsplit(value, " ");
	if (words[0] == NULL || words[1] == NULL)
		return -1;
	row = admin_queue_add(queue, t_strconcat(words[0], " others", NULL));
	return str_to_int64(words[1], &row->numbers[COI_QUEUE_WAITING]);
}

int coi_admin_get_queue(const char *base_dir,
			ARRAY_TYPE(coi_admin_queue) *queue,
			const char **error_r)
{
	struct coi_handoff_answer answer;
	string_t *line = t_str_new(16);
	const char *error;

	coi_handoff_write_status(line);
	if (coi_handoff_ask(coi_handoff_socket_path(base_dir), line,
			    ADMIN_QUEUE_TIMEOUT_MSECS, &answer, &error) < 0) {
		*error_r = t_strdup_printf("coi-push doesn't answer: %s. "
					   "Is push on, and Dovecot running?",
					   error);
		return -1;
	}
	if (!answer.ok && strcmp(answer.word, "not-permitted") == 0) {
		*error_r = "coi-push tells its queue to root "
			   "and to its own user only";
		return -1;
	}
	if (!answer.ok || admin_queue_add_answer(&answer, queue) < 0) {
		*error_r = t_strdup_printf("coi-push doesn't tell: %s",
					   str_sanitize(answer.word, 40));
		return -1;
	}
	return 0;
}
