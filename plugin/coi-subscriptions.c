/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/*
 * A delivery has to know whether the user has subscriptions, and most users
 * have none. The keys hang on the GUID of INBOX, which takes opening INBOX. So
 * a dict in a file is first asked for any such key at all, which takes no GUID.
 * Another dict has to be asked for the prefix.
 */

#include "lib.h"
#include "array.h"
#include "dict-private.h"
#include "ioloop.h"
#include "mail-storage-private.h"
#include "coi-compat.h"
#include "coi-core.h"
#include "coi-device-token.h"
#include "coi-dict.h"
#include "coi-folders.h"
#include "coi-user.h"
#include "coi-subscriptions.h"

#include <time.h>

/* More are not even looked at. We store far fewer; another server that dsync
   copies from may have any number. */
#define SUBSCRIPTIONS_MAX_ROWS 1000
/* The same where other metadata of INBOX is looked at, too. */
#define SUBSCRIPTIONS_MAX_ENTRIES 10000

const struct coi_settings *coi_push_settings(struct mail_user *user)
{
	const struct coi_settings *set = coi_user_settings(user);

	return set != NULL && set->coi_push && coi_user_is_offered(user) ? set :
									   NULL;
}

/* Dovecot's fs dict can't list what is in folders below, and in 2.3 the process that
   asks it to ends. */
static bool subscriptions_can_be_listed(const struct dict *dict)
{
	return strcmp(dict->name, "fs") != 0;
}

bool coi_subscriptions_may_exist(struct mail_user *user)
{
	struct dict *dict;
	const char *error;

	return coi_user_get_dict(user, &dict, &error) > 0 &&
		subscriptions_can_be_listed(dict) &&
		coi_dict_may_have(user, dict, COI_SUBSCRIPTIONS_KEY_PREFIX);
}

static bool
subscription_is_good(struct mail_user *user, const char *id, const char *json)
{
	const struct coi_push *push = coi_push_get(user->event);

	return push != NULL &&
		push->subscription_id_check(coi_bytes_from_str(id)) &&
		strlen(json) < COI_SUBSCRIPTION_MAX_SIZE;
}

static int subscription_cmp(const struct coi_subscription *sub1,
			    const struct coi_subscription *sub2)
{
	return strcmp(sub1->id, sub2->id);
}

static void subscriptions_add(struct mail_user *user, pool_t pool,
			      ARRAY_TYPE(coi_subscription) *subs,
			      const char *id, const char *json)
{
	struct coi_subscription *sub;

	if (subscription_is_good(user, id, json)) {
		sub = array_append_space(subs);
		sub->id = p_strdup(pool, id);
		sub->json = p_strdup(pool, json);
	}
}

struct subscriptions_list {
	struct mail_user *user;
	pool_t pool;
	ARRAY_TYPE(coi_subscription) *subs;
	const char *prefix;
};

static void
subscriptions_listed(const char *key, const char *value, void *context)
{
	struct subscriptions_list *list = context;
	size_t prefix_len = strlen(list->prefix);

	if (strncmp(key, list->prefix, prefix_len) == 0) {
		subscriptions_add(list->user, list->pool, list->subs,
				  key + prefix_len, value);
	}
}

/* Dovecot's SQL dict can list all keys of a mailbox, and fails where what it is to
   list begins within its map's last variable: for priv/$box/$key any prefix does. */
static int
subscriptions_list(struct subscriptions_list *list, struct dict *dict,
		   const char *box_path, const char **error_r)
{
	if (coi_dict_is_file(dict)) {
		return coi_dict_list(list->user, dict, list->prefix, 0,
				     SUBSCRIPTIONS_MAX_ROWS,
				     subscriptions_listed, list, error_r);
	}
	return coi_dict_list(list->user, dict, box_path,
			     DICT_ITERATE_FLAG_RECURSE,
			     SUBSCRIPTIONS_MAX_ENTRIES, subscriptions_listed,
			     list, error_r);
}

int coi_subscriptions_read(struct mail_user *user, struct mailbox *inbox,
			   pool_t pool, ARRAY_TYPE(coi_subscription) *subs,
			   const char **error_r)
{
	struct subscriptions_list list = {
		.user = user,
		.pool = pool,
		.subs = subs,
	};
	const char *box_path;
	struct dict *dict;
	int ret;

	/* where INBOX hasn't been made yet, it is not for us to make it */
	if (inbox == NULL && !coi_folder_have_inbox(user))
		return 0;
	ret = coi_user_get_dict(user, &dict, error_r);
	if (ret <= 0)
		return ret;
	if (!subscriptions_can_be_listed(dict)) {
		*error_r = "Dovecot's dict driver fs can't list them";
		return -1;
	}
	if (coi_user_dict_path(user, inbox, "", &box_path, error_r) < 0)
		return -1;
	list.prefix = t_strconcat(box_path, COI_SUBSCRIPTIONS_KEY_PREFIX, NULL);
	if (coi_dict_check(user, dict, inbox, error_r) < 0)
		return -1;
	ret = subscriptions_list(&list, dict, box_path, error_r);
	array_sort(subs, subscription_cmp);
	return ret < 0 ? -1 : 0;
}

/* A subscription or device token, and when it was set. */
struct dated_subscription {
	int64_t set;
	const struct coi_subscription *sub;
};

static int dated_subscription_cmp(const struct dated_subscription *dated1,
				  const struct dated_subscription *dated2)
{
	if (dated1->set != dated2->set)
		return dated1->set > dated2->set ? -1 : 1;
	return subscription_cmp(dated1->sub, dated2->sub);
}

/* Two servers that are kept in sync may have more than a user may, or the admin has
   lowered the limit: the newest ones are used. */
static void
subscriptions_add_newest(const struct coi_push *push,
			 const ARRAY_TYPE(coi_subscription) *all,
			 unsigned int limit, ARRAY_TYPE(coi_subscription) *subs)
{
	unsigned int count = array_count(all);
	ARRAY(struct dated_subscription) dated;
	struct dated_subscription *one;
	struct coi_subscription_info info;

	if (count <= limit) {
		array_append_array(subs, all);
		return;
	}
	t_array_init(&dated, count);
	for (unsigned int i = 0; i < count; i++) {
		one = array_append_space(&dated);
		one->sub = array_idx(all, i);
		if (push->subscription_get_info(
			    coi_bytes_from_str(one->sub->json), &info))
			one->set = info.created;
	}
	array_sort(&dated, dated_subscription_cmp);
	for (unsigned int i = 0; i < limit; i++)
		array_push_back(subs, (array_idx(&dated, i))->sub);
}

/* Of each kind a user may have some: the others aren't used (any more). */
static int
subscriptions_read_live(struct mail_user *user, struct mailbox *inbox,
			bool wishes, pool_t pool,
			ARRAY_TYPE(coi_subscription) *subs,
			const char **error_r)
{
	const struct coi_settings *set = coi_user_settings(user);
	const struct coi_push *push = coi_push_get(user->event);
	ARRAY_TYPE(coi_subscription) all, others, tokens;
	struct coi_subscription *sub;
	int64_t now = time(NULL);

	if (push == NULL)
		return 0;
	p_array_init(&all, pool, 8);
	if (coi_subscriptions_read(user, inbox, pool, &all, error_r) < 0)
		return -1;
	t_array_init(&others, 8);
	t_array_init(&tokens, 8);
	array_foreach_modifiable(&all, sub) {
		struct coi_bytes stored = coi_bytes_from_str(sub->json);

		if (!(wishes ? push->subscription_wishes(stored, now,
							 &sub->wishes) :
			       push->subscription_is_live(stored, now)))
			continue;
		if (!push->device_token_check(stored, NULL))
			array_push_back(&others, sub);
		else if (set->coi_push_deltachat)
			array_push_back(&tokens, sub);
	}
	subscriptions_add_newest(push, &others, set->webpush_subscription_limit,
				 subs);
	subscriptions_add_newest(push, &tokens, COI_DEVICE_TOKENS_MAX, subs);
	return 0;
}

int coi_subscriptions_read_live(struct mail_user *user, struct mailbox *inbox,
				pool_t pool, ARRAY_TYPE(coi_subscription) *subs,
				const char **error_r)
{
	return subscriptions_read_live(user, inbox, FALSE, pool, subs, error_r);
}

int coi_subscriptions_read_wishes(struct mail_user *user, pool_t pool,
				  ARRAY_TYPE(coi_subscription) *subs,
				  const char **error_r)
{
	return subscriptions_read_live(user, NULL, TRUE, pool, subs, error_r);
}

bool coi_subscriptions_exist(struct mail_user *user)
{
	ARRAY_TYPE(coi_subscription) subs;
	const char *error;
	pool_t pool;
	bool found;

	if (coi_push_settings(user) == NULL ||
	    !coi_subscriptions_may_exist(user))
		return FALSE;
	pool = pool_alloconly_create("coi subscriptions", 4096);
	p_array_init(&subs, pool, 8);
	found = coi_subscriptions_read_live(user, NULL, pool, &subs, &error) ==
			0 &&
		array_count(&subs) > 0;
	pool_unref(&pool);
	return found;
}

int coi_subscription_write(struct mailbox_transaction_context *t,
			   const char *key, const char *value, time_t changed)
{
	struct mail_user *user = t->box->storage->user;
	struct dict_transaction_context *dtrans;
	struct dict *dict;
	const char *path, *error;
	int ret;

	ret = coi_user_get_dict(user, &dict, &error);
	if (ret == 0)
		error = coi_compat_no_dict_hint;
	if (ret <= 0 ||
	    coi_user_dict_path(user, t->box, key, &path, &error) < 0) {
		mailbox_set_critical(t->box,
				     "coi: Can't write a push subscription: %s",
				     error);
		return -1;
	}
	/* the one that lib-storage would begin, and commits */
	if (t->attr_pvt_trans == NULL) {
		t->attr_pvt_trans = dict_transaction_begin(
			dict, mail_user_get_dict_op_settings(user));
	}
	dtrans = t->attr_pvt_trans;
	coi_dict_keep_private(user, dict);
	coi_compat_dict_hide_values(dtrans, path);
	/* dict_set() without its debug message (MSG-12) */
	dtrans->dict->v.set(dtrans, path, value);
	dtrans->changed = TRUE;
	mail_index_attribute_set(t->itrans, TRUE, key,
				 changed != 0 ? changed : ioloop_time,
				 strlen(value));
	return 0;
}
