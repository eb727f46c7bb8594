/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/*
 * What is stored (with secrets) and what a client sees are different things
 * here. So lib-storage only knows that the tree webpush/ is ours and may be
 * used also with imap_metadata = no; all the rest is done in the mailbox's
 * attribute functions, below lib-storage's internal attributes:
 *  - reading shows a subscription blanked, and only while it is live;
 *  - writing notes a change, and the commit makes it or is refused;
 *  - listing leaves out what is stored, and the internal attribute lists what
 *    is to be seen;
 *  - dsync gets and sets what is stored.
 *
 * Entry names are case-insensitive (RFC 5464), and Dovecot lower-cases them in
 * the IMAP commands as in doveadm, 2.3 and 2.4 alike. So "Phone-12345" and
 * "phone-12345" are one subscription, with the id "phone-12345".
 */

#include "lib.h"
#include "array.h"
#include "file-lock.h"
#include "istream.h"
#include "str.h"
#include "coi-compat.h"
#include "coi-core.h"
#include "coi-mailbox.h"
#include "coi-subscriptions.h"
#include "coi-user.h"
#include "coi-webpush-private.h"

#define WEBPUSH_VAPID "vapid"
#define WEBPUSH_VALIDATE_SUFFIX "/validate"

/* for the service to tell its key; a client waits, and no delivery */
#define WEBPUSH_VAPID_MSECS 1000
/* of one transaction */
#define WEBPUSH_MAX_CHANGES 100

void coi_webpush_free(struct coi_webpush *webpush)
{
	struct coi_webpush_change *change;

	if (webpush->lock != NULL)
		file_lock_free(&webpush->lock);
	if (webpush->pool == NULL)
		return;
	array_foreach_modifiable(&webpush->changes, change)
		i_free(change->json);
	array_free(&webpush->changes);
	pool_unref(&webpush->pool);
}

void coi_webpush_refuse(struct coi_webpush *webpush, enum mail_error code,
			const char *reason)
{
	if (webpush->refused == NULL) {
		webpush->refused = reason;
		webpush->refused_code = code;
	}
}

static bool webpush_is_key(enum mail_attribute_type type_flags, const char *key)
{
	return (type_flags & MAIL_ATTRIBUTE_TYPE_MASK) ==
		MAIL_ATTRIBUTE_TYPE_PRIVATE &&
		strncmp(key, COI_WEBPUSH_KEY_PREFIX,
			strlen(COI_WEBPUSH_KEY_PREFIX)) == 0;
}

bool coi_webpush_owns(struct mailbox *box, enum mail_attribute_type type_flags,
		      const char *key)
{
	return !box->storage->user->dsyncing && webpush_is_key(type_flags, key);
}

bool coi_webpush_is_copied(struct mailbox *box,
			   enum mail_attribute_type type_flags, const char *key)
{
	return box->storage->user->dsyncing && webpush_is_key(type_flags, key);
}

static const char *webpush_entry_name(const char *key)
{
	return key + strlen(COI_WEBPUSH_KEY_PREFIX);
}

/* Finds the id in "subscriptions/<id>" or, if so wanted,
   "subscriptions/<id>/validate". Returns NULL where the name is none. */
static const char *webpush_get_id(const struct coi_push *push, const char *name,
				  const char *suffix)
{
	size_t prefix_len = strlen(COI_SUBSCRIPTIONS_NAME_PREFIX);
	size_t len = strlen(name), suffix_len = strlen(suffix);
	const char *id;

	if (strncmp(name, COI_SUBSCRIPTIONS_NAME_PREFIX, prefix_len) != 0 ||
	    len < prefix_len + suffix_len ||
	    strcmp(name + len - suffix_len, suffix) != 0)
		return NULL;
	id = t_strdup_until(name + prefix_len, name + len - suffix_len);
	return push->subscription_id_check(coi_bytes_from_str(id)) ? id : NULL;
}

/*
 * Reading
 */

static int
webpush_get_vapid(struct mailbox *box, const struct coi_settings *set,
		  bool listing, struct mail_attribute_value *value_r)
{
	struct mail_user *user = box->storage->user;
	struct coi_handoff_answer answer;
	string_t *line = t_str_new(32);
	unsigned int pos = 0;
	const char *error;

	coi_handoff_write_vapid(line);
	/* it needn't ask anybody for it */
	if (coi_handoff_is_away()) {
		/* not again */
	} else if (coi_handoff_ask(coi_handoff_socket_path(user->set->base_dir),
				   line,
				   I_MAX(set->coi_push_handoff_timeout,
					 WEBPUSH_VAPID_MSECS),
				   &answer, &error) < 0) {
		coi_handoff_set_away();
		e_error(user->event, "coi: Can't ask coi-push for its key: %s",
			error);
	} else if (answer.ok) {
		value_r->value = coi_handoff_answer_next(&answer, "key", &pos);
	}
	if (value_r->value == NULL) {
		/* It is left out. An error here would take the place of one
		   that the listing has had before, and end imap. */
		if (listing)
			return 0;
		mail_storage_set_error(box->storage, MAIL_ERROR_UNAVAILABLE,
				       COI_WEBPUSH_ERROR_UNAVAILABLE);
		return -1;
	}
	return 1;
}

static const char *webpush_show(const struct coi_push *push, const char *json)
{
	char *buf = t_malloc_no0(COI_SUBSCRIPTION_MAX_SIZE + 1);
	size_t size;

	if (!push->subscription_show(coi_bytes_from_str(json), buf, &size))
		return NULL;
	buf[size] = '\0';
	return buf;
}

static int
webpush_read_live(struct mailbox *box, ARRAY_TYPE(coi_subscription) *subs)
{
	const char *error;

	if (coi_subscriptions_read_live(box->storage->user, box,
					pool_datastack_create(), subs,
					&error) < 0) {
		mailbox_set_critical(
			box, "coi: Can't read the push subscriptions: %s",
			error);
		return -1;
	}
	return 0;
}

void coi_webpush_get_gone(const struct coi_handoff_answer *answer,
			  const ARRAY_TYPE(coi_subscription) *subs,
			  ARRAY_TYPE(coi_subscription) *gone)
{
	const struct coi_subscription *sub;
	unsigned int pos = 0;
	const char *id;

	while ((id = coi_handoff_answer_next(answer, "gone", &pos)) != NULL) {
		array_foreach(subs, sub) {
			if (strcmp(sub->id, id) == 0)
				array_push_back(gone, sub);
		}
	}
}

int coi_webpush_ask_about(struct mail_user *user,
			  coi_handoff_write_about_t *write_about,
			  const ARRAY_TYPE(coi_subscription) *subs,
			  ARRAY_TYPE(coi_subscription) *gone,
			  const char **error_r)
{
	const struct coi_settings *set = coi_push_settings(user);
	const struct coi_subscription *next;
	struct coi_handoff_answer answer;
	string_t *line = t_str_new(1024);
	unsigned int asked, count;

	i_assert(set != NULL);
	next = array_get(subs, &count);
	for (; count > 0; next += asked, count -= asked) {
		asked = write_about(line, user->username, next, count);
		i_assert(asked > 0);
		if (coi_handoff_ask(
			    coi_handoff_socket_path(user->set->base_dir), line,
			    set->coi_push_handoff_timeout, &answer,
			    error_r) < 0)
			return -1;
		if (gone != NULL && answer.ok)
			coi_webpush_get_gone(&answer, subs, gone);
	}
	return 0;
}

void coi_webpush_ask_gone(struct mail_user *user,
			  const ARRAY_TYPE(coi_subscription) *subs,
			  ARRAY_TYPE(coi_subscription) *gone)
{
	const char *error;

	if (coi_push_settings(user) != NULL && !coi_handoff_is_away()) {
		(void)coi_webpush_ask_about(user, coi_handoff_write_gone, subs,
					    gone, &error);
	}
}

bool coi_webpush_is_gone(struct mail_user *user,
			 const struct coi_subscription *sub)
{
	ARRAY_TYPE(coi_subscription) subs, gone;

	t_array_init(&subs, 1);
	t_array_init(&gone, 1);
	array_push_back(&subs, sub);
	coi_webpush_ask_gone(user, &subs, &gone);
	return !array_is_empty(&gone);
}

int coi_webpush_get(struct mailbox *box, const char *key, bool listing,
		    struct mail_attribute_value *value_r)
{
	struct mail_user *user = box->storage->user;
	const struct coi_settings *set = coi_push_settings(user);
	const char *id, *name = webpush_entry_name(key);
	ARRAY_TYPE(coi_subscription) subs;
	const struct coi_subscription *sub;
	const struct coi_push *push;

	value_r->value = NULL;
	if (coi_user_refuse_homeless(user)) {
		mail_storage_set_error(box->storage, MAIL_ERROR_NOTPOSSIBLE,
				       COI_USER_ERROR_NO_HOME);
		return -1;
	}
	if (set == NULL)
		return 0;
	if (strcmp(name, WEBPUSH_VAPID) == 0)
		return webpush_get_vapid(box, set, listing, value_r);
	push = coi_push_get(user->event);
	id = push == NULL ? NULL : webpush_get_id(push, name, "");
	if (id == NULL)
		return 0;
	t_array_init(&subs, 16);
	if (webpush_read_live(box, &subs) < 0)
		return -1;
	array_foreach(&subs, sub) {
		/* reading is no occasion to remove one */
		if (strcmp(sub->id, id) == 0 &&
		    (listing || !coi_webpush_is_gone(user, sub)))
			value_r->value = webpush_show(push, sub->json);
	}
	return value_r->value == NULL ? 0 : 1;
}

/*
 * Listing
 */

static int webpush_iter(struct mailbox *box, const char *key_prefix,
			pool_t pool, ARRAY_TYPE(const_string) *keys)
{
	static const char subs_name[] = "subscriptions";
	struct mail_user *user = box->storage->user;
	ARRAY_TYPE(coi_subscription) subs;
	const struct coi_subscription *sub;
	const char *name, *prefix;

	/* lib-storage asks this of the INBOX of any namespace */
	if (!box->inbox_user || user->dsyncing ||
	    COI_USER_CONTEXT(user) == NULL || coi_push_settings(user) == NULL)
		return 0;
	if (key_prefix[0] == '\0') {
		name = WEBPUSH_VAPID;
		array_push_back(keys, &name);
		prefix = COI_SUBSCRIPTIONS_NAME_PREFIX;
	} else if (strcmp(key_prefix, subs_name) == 0) {
		prefix = "";
	} else {
		return 0;
	}
	t_array_init(&subs, 16);
	if (webpush_read_live(box, &subs) < 0)
		return -1;
	array_foreach(&subs, sub) {
		name = p_strconcat(pool, prefix, sub->id, NULL);
		array_push_back(keys, &name);
	}
	return 0;
}

/* The core calls this only to ask whether there may be such an attribute; what
   it then does comes to coi_webpush_set(). */
static int
webpush_allow_set(struct mailbox_transaction_context *t,
		  const char *key ATTR_UNUSED,
		  const struct mail_attribute_value *value ATTR_UNUSED)
{
	if (COI_USER_CONTEXT(t->box->storage->user) == NULL) {
		mail_storage_set_error(t->box->storage, MAIL_ERROR_NOTPOSSIBLE,
				       "Push is not available for this user");
		return -1;
	}
	return 0;
}

/* OVERRIDE, because what isn't read-only is what dsync copies. */
static const struct mailbox_attribute_internal webpush_attribute = {
	.type = MAIL_ATTRIBUTE_TYPE_PRIVATE,
	.key = COI_WEBPUSH_KEY_PREFIX,
	.rank = MAIL_ATTRIBUTE_INTERNAL_RANK_OVERRIDE,
	.flags = MAIL_ATTRIBUTE_INTERNAL_FLAG_CHILDREN |
		MAIL_ATTRIBUTE_INTERNAL_FLAG_VALIDATED,
	.set = webpush_allow_set,
	.iter = webpush_iter,
};

static bool
webpush_is_listed(struct mailbox *box, enum mail_attribute_type type_flags,
		  const char *prefix)
{
	size_t len = strlen(prefix);

	/* what begins with less lists the attributes of INBOX itself, and these
	   are not the server's */
	return (type_flags & MAIL_ATTRIBUTE_TYPE_MASK) ==
		MAIL_ATTRIBUTE_TYPE_PRIVATE &&
		box->inbox_user && !box->storage->user->dsyncing &&
		len >= strlen(MAILBOX_ATTRIBUTE_PREFIX_DOVECOT_PVT_SERVER) &&
		strncmp(prefix, COI_SUBSCRIPTIONS_KEY_PREFIX, len) == 0;
}

/* Only here: while the dict is being listed it mustn't be changed. */
void coi_webpush_before_list(struct mailbox *box,
			     enum mail_attribute_type type_flags,
			     const char *prefix)
{
	struct mail_user *user = box->storage->user;
	ARRAY_TYPE(coi_subscription) subs, gone;

	if (!webpush_is_listed(box, type_flags, prefix) ||
	    coi_push_settings(user) == NULL ||
	    !coi_subscriptions_may_exist(user))
		return;
	t_array_init(&subs, 16);
	if (webpush_read_live(box, &subs) < 0)
		return;
	t_array_init(&gone, 4);
	coi_webpush_ask_gone(user, &subs, &gone);
	coi_webpush_forget(user, FALSE, &gone);
}

/*
 * Writing
 */

/* RFC 5464, 4.3 */
static const char *webpush_value_too_long(pool_t pool, size_t max_size)
{
	return p_strdup_printf(
		pool, "[METADATA MAXSIZE %zu] The value is too long", max_size);
}

/* Returns FALSE if something is wrong with the value. */
static bool
webpush_value_read(pool_t pool, const struct mail_attribute_value *value,
		   size_t max_size, const char **text_r, const char **error_r)
{
	const unsigned char *data;
	string_t *str;
	size_t size;

	if (value->value_stream == NULL) {
		if (strlen(value->value) > max_size) {
			*error_r = webpush_value_too_long(pool, max_size);
			return FALSE;
		}
		*text_r = p_strdup(pool, value->value);
		return TRUE;
	}
	str = t_str_new(256);
	i_stream_seek(value->value_stream, 0);
	while (i_stream_read_more(value->value_stream, &data, &size) > 0) {
		if (size > max_size - str_len(str)) {
			*error_r = webpush_value_too_long(pool, max_size);
			return FALSE;
		}
		if (memchr(data, '\0', size) != NULL) {
			*error_r = "The value has a NUL in it";
			return FALSE;
		}
		str_append_data(str, data, size);
		i_stream_skip(value->value_stream, size);
	}
	if (value->value_stream->stream_errno != 0) {
		*error_r = "The value can't be read";
		return FALSE;
	}
	*text_r = p_strdup(pool, str_c(str));
	return TRUE;
}

struct coi_webpush *
coi_webpush_get_changes(struct mailbox_transaction_context *t)
{
	struct coi_webpush *webpush = &coi_transaction_get(t)->webpush;

	if (webpush->pool == NULL) {
		webpush->pool = pool_alloconly_create("coi webpush", 1024);
		i_array_init(&webpush->changes, 4);
		p_array_init(&webpush->dismissed, webpush->pool, 4);
	}
	return webpush;
}

void coi_webpush_add_change(struct coi_webpush *webpush, enum coi_webpush_op op,
			    const char *id, const char *text)
{
	struct coi_webpush_change *change;

	change = array_append_space(&webpush->changes);
	change->op = op;
	change->id = p_strdup(webpush->pool, id);
	change->text = text;
}

void coi_webpush_dismiss(struct coi_webpush *webpush, const char *id,
			 const char *json)
{
	struct coi_subscription *sub = array_append_space(&webpush->dismissed);

	sub->id = p_strdup(webpush->pool, id);
	sub->json = p_strdup(webpush->pool, json);
}

/* An entry that is there twice: the last value counts, and only it is
   registered. */
static void webpush_drop_subscribe(struct coi_webpush *webpush, const char *id)
{
	const struct coi_webpush_change *changes;
	unsigned int i, count;

	changes = array_get(&webpush->changes, &count);
	for (i = count; i > 0; i--) {
		if (changes[i - 1].op == COI_WEBPUSH_SUBSCRIBE &&
		    strcmp(changes[i - 1].id, id) == 0)
			array_delete(&webpush->changes, i - 1, 1);
	}
}

static void
webpush_set_subscription(struct coi_webpush *webpush, const char *id,
			 const struct mail_attribute_value *value)
{
	const char *text, *error;

	webpush_drop_subscribe(webpush, id);
	if (value->value == NULL && value->value_stream == NULL) {
		coi_webpush_add_change(webpush, COI_WEBPUSH_UNSUBSCRIBE, id,
				       NULL);
		return;
	}
	if (webpush_value_read(webpush->pool, value,
			       COI_SUBSCRIPTION_INPUT_MAX_SIZE, &text, &error))
		coi_webpush_add_change(webpush, COI_WEBPUSH_SUBSCRIBE, id,
				       text);
	else
		coi_webpush_refuse(webpush, MAIL_ERROR_PARAMS, error);
}

/* Returns FALSE if nothing more is to be noted. */
static bool
webpush_begin_change(struct coi_webpush *webpush, struct mail_user *user)
{
	if (webpush->refused != NULL)
		return FALSE;
	if (coi_push_get(user->event) == NULL) {
		coi_webpush_refuse(webpush, MAIL_ERROR_UNAVAILABLE,
				   COI_WEBPUSH_ERROR_UNAVAILABLE);
	} else if (array_count(&webpush->changes) >= WEBPUSH_MAX_CHANGES) {
		coi_webpush_refuse(webpush, MAIL_ERROR_LIMIT,
				   "Too many changes at once");
	}
	return webpush->refused == NULL;
}

const char *coi_webpush_read_value(struct mailbox_transaction_context *t,
				   const struct mail_attribute_value *value,
				   size_t max_size)
{
	struct coi_webpush *webpush = coi_webpush_get_changes(t);
	const char *text, *error;

	if (webpush->refused != NULL)
		return NULL;
	if (webpush_value_read(webpush->pool, value, max_size, &text, &error))
		return text;
	coi_webpush_refuse(webpush, MAIL_ERROR_PARAMS, error);
	return NULL;
}

void coi_webpush_set_device_token(struct mailbox_transaction_context *t,
				  const char *id, const char *token)
{
	struct coi_webpush *webpush = coi_webpush_get_changes(t);

	if (webpush_begin_change(webpush, t->box->storage->user))
		coi_webpush_add_change(webpush, COI_WEBPUSH_SET_TOKEN, id,
				       token);
}

void coi_webpush_unset_device_tokens(struct mailbox_transaction_context *t)
{
	struct coi_webpush *webpush = coi_webpush_get_changes(t);

	if (webpush_begin_change(webpush, t->box->storage->user))
		coi_webpush_add_change(webpush, COI_WEBPUSH_UNSET_TOKENS, "",
				       NULL);
}

void coi_webpush_set_refused(struct mailbox_transaction_context *t,
			     const char *reason)
{
	coi_webpush_refuse(coi_webpush_get_changes(t), MAIL_ERROR_NOTPOSSIBLE,
			   reason);
}

static void webpush_set_validation(struct coi_webpush *webpush, const char *id,
				   const struct mail_attribute_value *value)
{
	const char *text, *error;

	if (value->value == NULL && value->value_stream == NULL) {
		coi_webpush_refuse(webpush, MAIL_ERROR_PARAMS,
				   "The validation text is missing");
		return;
	}
	if (webpush_value_read(webpush->pool, value, COI_VALIDATION_MAX_SIZE,
			       &text, &error))
		coi_webpush_add_change(webpush, COI_WEBPUSH_VALIDATE, id, text);
	else
		coi_webpush_refuse(webpush, MAIL_ERROR_PARAMS, error);
}

/* Never fails: cmd_setmetadata() wouldn't ask for the literals behind it, and a
   client that waits to be asked would wait for ever. The commit fails. */
int coi_webpush_set(struct mailbox_transaction_context *t, const char *key,
		    const struct mail_attribute_value *value)
{
	struct mail_user *user = t->box->storage->user;
	struct coi_webpush *webpush = coi_webpush_get_changes(t);
	const char *id, *name = webpush_entry_name(key);
	const struct coi_push *push;

	/* what has been refused needs no more memory */
	if (webpush->refused != NULL)
		return 0;
	if (coi_push_settings(user) == NULL) {
		coi_webpush_refuse(webpush, MAIL_ERROR_NOTPOSSIBLE,
				   coi_user_refuse_homeless(user) ?
					   COI_USER_ERROR_NO_HOME :
					   "Push is not available on this "
					   "server");
		return 0;
	}
	if (strcmp(name, WEBPUSH_VAPID) == 0) {
		coi_webpush_refuse(webpush, MAIL_ERROR_NOTPOSSIBLE,
				   "webpush/vapid is set by the server");
		return 0;
	}
	if (!webpush_begin_change(webpush, user))
		return 0;
	push = coi_push_get(user->event);
	if ((id = webpush_get_id(push, name, "")) != NULL) {
		webpush_set_subscription(webpush, id, value);
	} else if ((id = webpush_get_id(push, name, WEBPUSH_VALIDATE_SUFFIX)) !=
		   NULL) {
		webpush_set_validation(webpush, id, value);
	} else {
		coi_webpush_refuse(webpush, MAIL_ERROR_PARAMS,
				   "There is no such webpush entry "
				   "(an id has 10 to 36 of 0-9 A-Z a-z _ -)");
	}
	return 0;
}

/* It was removed or replaced at another server, and what waits for it waits here. */
static void webpush_dismiss_copied(struct mailbox_transaction_context *t,
				   const char *key, const char *new_json)
{
	struct mail_user *user = t->box->storage->user;
	const struct coi_push *push = coi_push_get(user->event);
	ARRAY_TYPE(coi_subscription) subs;
	const struct coi_subscription *sub;
	const char *id, *error;

	if (push == NULL || coi_push_settings(user) == NULL ||
	    (id = webpush_get_id(push, webpush_entry_name(key), "")) == NULL)
		return;
	t_array_init(&subs, 16);
	/* what is wrong with the dict, to write to it tells */
	if (coi_subscriptions_read(user, t->box, pool_datastack_create(), &subs,
				   &error) < 0)
		return;
	array_foreach(&subs, sub) {
		if (strcmp(sub->id, id) == 0 &&
		    null_strcmp(sub->json, new_json) != 0)
			coi_webpush_dismiss(coi_webpush_get_changes(t), sub->id,
					    sub->json);
	}
}

int coi_webpush_copy(struct mailbox_transaction_context *t, const char *key,
		     const struct mail_attribute_value *value,
		     const struct mailbox_vfuncs *super)
{
	const char *str;

	if (value->value == NULL && value->value_stream == NULL) {
		webpush_dismiss_copied(t, key, NULL);
		return super->attribute_set(t, MAIL_ATTRIBUTE_TYPE_PRIVATE, key,
					    value);
	}
	if (mailbox_attribute_value_to_string(t->box->storage, value, &str) < 0)
		return -1;
	webpush_dismiss_copied(t, key, str);
	return coi_subscription_write(t, key, str, value->last_change);
}

void coi_webpush_init(void)
{
	mailbox_attribute_register_internal(&webpush_attribute);
}

void coi_webpush_deinit(void)
{
	mailbox_attribute_unregister_internal(&webpush_attribute);
}
