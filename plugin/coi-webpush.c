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
 * A commit asks the push services first, without a lock, for that may take
 * long. Then, under a lock, the subscriptions are read again and the changes
 * are made to what they are now: two that race can't exceed the limit. They are
 * written by the transaction that is being committed, together with what else
 * it sets, all or nothing.
 *
 * Entry names are case-insensitive (RFC 5464), and Dovecot lower-cases them in
 * the IMAP commands as in doveadm, 2.3 and 2.4 alike. So "Phone-12345" and
 * "phone-12345" are one subscription, with the id "phone-12345".
 */

#include "lib.h"
#include "array.h"
#include "base64.h"
#include "buffer.h"
#include "file-lock.h"
#include "istream.h"
#include "randgen.h"
#include "str.h"
#include "mail-namespace.h"
#include "coi-compat.h"
#include "coi-core.h"
#include "coi-device-token.h"
#include "coi-lock.h"
#include "coi-mailbox.h"
#include "coi-subscriptions.h"
#include "coi-user.h"
#include "coi-webpush.h"

#include <time.h>

#define WEBPUSH_VAPID "vapid"
#define WEBPUSH_VALIDATE_SUFFIX "/validate"

#define WEBPUSH_LOCK_NAME "dovecot-coi-push.lock"
#define WEBPUSH_LOCK_SECS 20
/* for the service to tell its key; a client waits, and no delivery */
#define WEBPUSH_VAPID_MSECS 1000
/* A delivery that can't remove what is gone leaves it to later ones. */
#define WEBPUSH_FORGET_PAUSE_MSECS 60000
/* of one transaction */
#define WEBPUSH_MAX_CHANGES 100
/* The service's own time for a registration is as long as ours. */
#define WEBPUSH_REGISTER_GRACE_MSECS 500
#define WEBPUSH_VALIDATION_BYTES 32

/* A token that is set again is as good as new, but isn't written each time. */
#define WEBPUSH_TOKEN_REFRESH_SECS INT64_C(86400)

#define WEBPUSH_ERROR_UNAVAILABLE "Push is not available at the moment"

enum webpush_op {
	/* Create or replace. */
	WEBPUSH_SUBSCRIBE,
	WEBPUSH_UNSUBSCRIBE,
	WEBPUSH_VALIDATE,
	WEBPUSH_SET_TOKEN,
	WEBPUSH_UNSET_TOKENS,
};

struct coi_webpush_change {
	enum webpush_op op;
	const char *id;
	/* SUBSCRIBE: what the client has set. VALIDATE: the text. SET_TOKEN: the
	   token. UNSUBSCRIBE: what has to be stored if it is to be removed, or
	   NULL for whatever it is. */
	const char *text;
	/* SUBSCRIBE: what is to be stored */
	char *json;
};

/* A subscription while changes are being made. */
struct webpush_entry {
	const char *id;
	/* as it is stored, and as it is going to be; NULL if there is none */
	const char *stored, *json;
	bool changed;
	/* The client wants no more of what is stored. */
	bool dismissed;
};

struct webpush_state {
	struct mail_user *user;
	pool_t pool;
	const struct coi_push *push;
	int64_t now;
	ARRAY(struct webpush_entry) entries;
};

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

static void webpush_refuse(struct coi_webpush *webpush, enum mail_error code,
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
			   enum mail_attribute_type type_flags, const char *key,
			   const struct mail_attribute_value *value)
{
	return box->storage->user->dsyncing &&
		webpush_is_key(type_flags, key) &&
		(value->value != NULL || value->value_stream != NULL);
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

static const char *webpush_socket_path(struct mail_user *user)
{
	return t_strconcat(user->set->base_dir, "/" COI_HANDOFF_SOCKET_NAME,
			   NULL);
}

/*
 * Reading
 */

static int
webpush_get_vapid(struct mailbox *box, const struct coi_settings *set,
		  struct mail_attribute_value *value_r)
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
	} else if (coi_handoff_ask(webpush_socket_path(user), line,
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
		/* with this code, a listing leaves it out and goes on */
		mail_storage_set_error(box->storage, MAIL_ERROR_NOTPOSSIBLE,
				       WEBPUSH_ERROR_UNAVAILABLE);
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

/* Adds to gone those that the service knows to be. */
static void webpush_ask_gone(struct mail_user *user,
			     const ARRAY_TYPE(coi_subscription) *subs,
			     ARRAY_TYPE(coi_subscription) *gone)
{
	const struct coi_settings *set = coi_push_settings(user);
	struct coi_handoff_answer answer;
	string_t *line = t_str_new(1024);
	const char *error;

	if (set == NULL || array_is_empty(subs) || coi_handoff_is_away())
		return;
	(void)coi_handoff_write_gone(line, user->username, array_front(subs),
				     array_count(subs));
	if (coi_handoff_ask(webpush_socket_path(user), line,
			    set->coi_push_handoff_timeout, &answer,
			    &error) == 0 &&
	    answer.ok)
		coi_webpush_get_gone(&answer, subs, gone);
}

static bool
webpush_is_gone(struct mail_user *user, const struct coi_subscription *sub)
{
	ARRAY_TYPE(coi_subscription) subs, gone;

	t_array_init(&subs, 1);
	t_array_init(&gone, 1);
	array_push_back(&subs, sub);
	webpush_ask_gone(user, &subs, &gone);
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
	if (set == NULL)
		return 0;
	if (strcmp(name, WEBPUSH_VAPID) == 0)
		return webpush_get_vapid(box, set, value_r);
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
		    (listing || !webpush_is_gone(user, sub)))
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

	if (user->dsyncing || COI_USER_CONTEXT(user) == NULL ||
	    coi_push_settings(user) == NULL)
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
		!box->storage->user->dsyncing &&
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
	webpush_ask_gone(user, &subs, &gone);
	coi_webpush_forget(user, FALSE, &gone);
}

/*
 * Writing
 */

/* Returns the value, or NULL with what is wrong with it. */
static const char *
webpush_value_read(pool_t pool, const struct mail_attribute_value *value,
		   size_t max_size, const char **error_r)
{
	const unsigned char *data;
	string_t *str;
	size_t size;

	*error_r = "The value is too long";
	if (value->value_stream == NULL) {
		return strlen(value->value) > max_size ?
			NULL :
			p_strdup(pool, value->value);
	}
	str = t_str_new(256);
	i_stream_seek(value->value_stream, 0);
	while (i_stream_read_more(value->value_stream, &data, &size) > 0) {
		if (size > max_size - str_len(str))
			return NULL;
		if (memchr(data, '\0', size) != NULL) {
			*error_r = "The value has a NUL in it";
			return NULL;
		}
		str_append_data(str, data, size);
		i_stream_skip(value->value_stream, size);
	}
	if (value->value_stream->stream_errno != 0) {
		*error_r = "The value can't be read";
		return NULL;
	}
	return p_strdup(pool, str_c(str));
}

static struct coi_webpush *
webpush_get_changes(struct mailbox_transaction_context *t)
{
	struct coi_webpush *webpush = &coi_transaction_get(t)->webpush;

	if (webpush->pool == NULL) {
		webpush->pool = pool_alloconly_create("coi webpush", 1024);
		i_array_init(&webpush->changes, 4);
		p_array_init(&webpush->dismissed, webpush->pool, 4);
	}
	return webpush;
}

static void webpush_add_change(struct coi_webpush *webpush, enum webpush_op op,
			       const char *id, const char *text)
{
	struct coi_webpush_change *change;

	change = array_append_space(&webpush->changes);
	change->op = op;
	change->id = p_strdup(webpush->pool, id);
	change->text = text;
}

/* An entry that is there twice: the last value counts, and only it is
   registered. */
static void webpush_drop_subscribe(struct coi_webpush *webpush, const char *id)
{
	const struct coi_webpush_change *changes;
	unsigned int i, count;

	changes = array_get(&webpush->changes, &count);
	for (i = count; i > 0; i--) {
		if (changes[i - 1].op == WEBPUSH_SUBSCRIBE &&
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
		webpush_add_change(webpush, WEBPUSH_UNSUBSCRIBE, id, NULL);
		return;
	}
	text = webpush_value_read(webpush->pool, value,
				  COI_SUBSCRIPTION_INPUT_MAX_SIZE, &error);
	if (text == NULL)
		webpush_refuse(webpush, MAIL_ERROR_PARAMS, error);
	else
		webpush_add_change(webpush, WEBPUSH_SUBSCRIBE, id, text);
}

/* Returns FALSE if nothing more is to be noted. */
static bool
webpush_begin_change(struct coi_webpush *webpush, struct mail_user *user)
{
	if (webpush->refused != NULL)
		return FALSE;
	if (coi_push_get(user->event) == NULL) {
		webpush_refuse(webpush, MAIL_ERROR_UNAVAILABLE,
			       WEBPUSH_ERROR_UNAVAILABLE);
	} else if (array_count(&webpush->changes) >= WEBPUSH_MAX_CHANGES) {
		webpush_refuse(webpush, MAIL_ERROR_LIMIT,
			       "Too many changes at once");
	}
	return webpush->refused == NULL;
}

const char *coi_webpush_read_value(struct mailbox_transaction_context *t,
				   const struct mail_attribute_value *value,
				   size_t max_size)
{
	struct coi_webpush *webpush = webpush_get_changes(t);
	const char *text, *error;

	if (webpush->refused != NULL)
		return NULL;
	text = webpush_value_read(webpush->pool, value, max_size, &error);
	if (text == NULL)
		webpush_refuse(webpush, MAIL_ERROR_PARAMS, error);
	return text;
}

void coi_webpush_set_device_token(struct mailbox_transaction_context *t,
				  const char *id, const char *token)
{
	struct coi_webpush *webpush = webpush_get_changes(t);

	if (webpush_begin_change(webpush, t->box->storage->user))
		webpush_add_change(webpush, WEBPUSH_SET_TOKEN, id, token);
}

void coi_webpush_unset_device_tokens(struct mailbox_transaction_context *t)
{
	struct coi_webpush *webpush = webpush_get_changes(t);

	if (webpush_begin_change(webpush, t->box->storage->user))
		webpush_add_change(webpush, WEBPUSH_UNSET_TOKENS, "", NULL);
}

void coi_webpush_set_refused(struct mailbox_transaction_context *t,
			     const char *reason)
{
	webpush_refuse(webpush_get_changes(t), MAIL_ERROR_NOTPOSSIBLE, reason);
}

static void webpush_set_validation(struct coi_webpush *webpush, const char *id,
				   const struct mail_attribute_value *value)
{
	const char *text, *error;

	if (value->value == NULL && value->value_stream == NULL) {
		webpush_refuse(webpush, MAIL_ERROR_PARAMS,
			       "The validation text is missing");
		return;
	}
	text = webpush_value_read(webpush->pool, value, COI_VALIDATION_MAX_SIZE,
				  &error);
	if (text == NULL)
		webpush_refuse(webpush, MAIL_ERROR_PARAMS, error);
	else
		webpush_add_change(webpush, WEBPUSH_VALIDATE, id, text);
}

/* Never fails: cmd_setmetadata() wouldn't ask for the literals behind it, and a
   client that waits to be asked would wait for ever. The commit fails. */
int coi_webpush_set(struct mailbox_transaction_context *t, const char *key,
		    const struct mail_attribute_value *value)
{
	struct mail_user *user = t->box->storage->user;
	struct coi_webpush *webpush = webpush_get_changes(t);
	const char *id, *name = webpush_entry_name(key);
	const struct coi_push *push;

	/* what has been refused needs no more memory */
	if (webpush->refused != NULL)
		return 0;
	if (coi_push_settings(user) == NULL) {
		webpush_refuse(webpush, MAIL_ERROR_NOTPOSSIBLE,
			       "Push is not available on this server");
		return 0;
	}
	if (strcmp(name, WEBPUSH_VAPID) == 0) {
		webpush_refuse(webpush, MAIL_ERROR_NOTPOSSIBLE,
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
		webpush_refuse(webpush, MAIL_ERROR_PARAMS,
			       "There is no such webpush entry "
			       "(an id has 10 to 36 of 0-9 A-Z a-z _ -)");
	}
	return 0;
}

int coi_webpush_copy(struct mailbox_transaction_context *t, const char *key,
		     const struct mail_attribute_value *value)
{
	const char *str;

	if (mailbox_attribute_value_to_string(t->box->storage, value, &str) < 0)
		return -1;
	return coi_subscription_write(t, key, str, value->last_change);
}

static int webpush_state_read(struct webpush_state *state, struct mailbox *box,
			      struct coi_webpush *webpush)
{
	ARRAY_TYPE(coi_subscription) subs;
	const struct coi_subscription *sub;
	struct webpush_entry *entry;
	const char *error;

	i_zero(state);
	state->user = box->storage->user;
	state->pool = pool_datastack_create();
	state->push = coi_push_get(state->user->event);
	state->now = time(NULL);
	t_array_init(&state->entries, 16);
	if (state->push == NULL) {
		webpush_refuse(webpush, MAIL_ERROR_UNAVAILABLE,
			       WEBPUSH_ERROR_UNAVAILABLE);
		return -1;
	}
	t_array_init(&subs, 16);
	if (coi_subscriptions_read(state->user, box, state->pool, &subs,
				   &error) < 0) {
		e_error(box->event,
			"coi: Can't read the push subscriptions: %s", error);
		webpush_refuse(webpush, MAIL_ERROR_UNAVAILABLE,
			       WEBPUSH_ERROR_UNAVAILABLE);
		return -1;
	}
	array_foreach(&subs, sub) {
		entry = array_append_space(&state->entries);
		entry->id = sub->id;
		entry->stored = entry->json = sub->json;
	}
	return 0;
}

static struct webpush_entry *
webpush_state_find(struct webpush_state *state, const char *id)
{
	struct webpush_entry *entry;

	array_foreach_modifiable(&state->entries, entry) {
		if (strcmp(entry->id, id) == 0)
			return entry;
	}
	return NULL;
}

/* Returns FALSE if it is a subscription, or nothing. */
static bool
webpush_entry_is_token(const struct webpush_state *state,
		       const struct webpush_entry *entry, int64_t *set_r)
{
	return entry->json != NULL &&
		state->push->device_token_check(coi_bytes_from_str(entry->json),
						set_r);
}

/* Device tokens have a limit of their own. */
static unsigned int webpush_state_count(const struct webpush_state *state)
{
	const struct webpush_entry *entry;
	unsigned int count = 0;

	array_foreach(&state->entries, entry) {
		if (entry->json != NULL &&
		    !webpush_entry_is_token(state, entry, NULL))
			count++;
	}
	return count;
}

static void webpush_entry_change(struct webpush_entry *entry, const char *json)
{
	entry->json = json;
	entry->changed = TRUE;
}

/* SUB-8 */
static void webpush_state_expire(struct webpush_state *state)
{
	struct webpush_entry *entry;

	array_foreach_modifiable(&state->entries, entry) {
		if (!state->push->subscription_is_live(
			    coi_bytes_from_str(entry->json), state->now))
			webpush_entry_change(entry, NULL);
	}
}

static bool webpush_validate(struct webpush_state *state,
			     struct webpush_entry *entry, const char *text)
{
	size_t size;
	char *buf;

	if (entry == NULL || entry->json == NULL)
		return FALSE;
	buf = p_malloc(state->pool, COI_SUBSCRIPTION_MAX_SIZE + 1);
	if (state->push->subscription_validate(
		    coi_bytes_from_str(entry->json), coi_bytes_from_str(text),
		    state->now, buf, &size) != COI_VALIDATE_OK)
		return FALSE;
	buf[size] = '\0';
	webpush_entry_change(entry, buf);
	return TRUE;
}

/* Forgets the one that was set longest ago, if there are too many. */
static void webpush_state_limit_tokens(struct webpush_state *state)
{
	struct webpush_entry *entry, *oldest = NULL;
	int64_t set, oldest_set = 0;
	unsigned int count = 0;

	array_foreach_modifiable(&state->entries, entry) {
		if (!webpush_entry_is_token(state, entry, &set))
			continue;
		count++;
		if (oldest == NULL || set < oldest_set) {
			oldest = entry;
			oldest_set = set;
		}
	}
	if (count > COI_DEVICE_TOKENS_MAX) {
		webpush_entry_change(oldest, NULL);
		oldest->dismissed = TRUE;
	}
}

static bool webpush_set_token(struct webpush_state *state,
			      const struct coi_webpush_change *change)
{
	struct webpush_entry *entry = webpush_state_find(state, change->id);
	char *buf = p_malloc(state->pool, COI_SUBSCRIPTION_MAX_SIZE + 1);
	int64_t set;
	size_t size;

	if (!state->push->device_token_store(coi_bytes_from_str(change->text),
					     state->now, buf, &size))
		return FALSE;
	buf[size] = '\0';
	if (entry == NULL) {
		entry = array_append_space(&state->entries);
		entry->id = change->id;
	} else if (webpush_entry_is_token(state, entry, &set) &&
		   state->now >= set &&
		   state->now - set < WEBPUSH_TOKEN_REFRESH_SECS) {
		return TRUE;
	}
	webpush_entry_change(entry, buf);
	webpush_state_limit_tokens(state);
	return TRUE;
}

static void webpush_unset_tokens(struct webpush_state *state)
{
	struct webpush_entry *entry;

	array_foreach_modifiable(&state->entries, entry) {
		if (webpush_entry_is_token(state, entry, NULL)) {
			webpush_entry_change(entry, NULL);
			entry->dismissed = TRUE;
		}
	}
}

static bool
webpush_change_apply(const struct coi_webpush_change *change,
		     struct webpush_state *state, struct coi_webpush *webpush)
{
	struct webpush_entry *entry = webpush_state_find(state, change->id);

	switch (change->op) {
	case WEBPUSH_SUBSCRIBE:
		if (entry == NULL) {
			entry = array_append_space(&state->entries);
			entry->id = change->id;
		}
		webpush_entry_change(entry, change->json);
		entry->dismissed = TRUE;
		return TRUE;
	case WEBPUSH_UNSUBSCRIBE:
		if (entry != NULL && entry->json != NULL &&
		    (change->text == NULL ||
		     strcmp(change->text, entry->json) == 0)) {
			webpush_entry_change(entry, NULL);
			/* not if it is the service that wants it removed */
			entry->dismissed = change->text == NULL;
		}
		return TRUE;
	case WEBPUSH_VALIDATE:
		if (webpush_validate(state, entry, change->text))
			return TRUE;
		/* the same, whatever is wrong: an id that isn't there, too */
		webpush_refuse(webpush, MAIL_ERROR_PARAMS,
			       "The validation text is wrong or too old");
		return FALSE;
	case WEBPUSH_SET_TOKEN:
		if (webpush_set_token(state, change))
			return TRUE;
		webpush_refuse(webpush, MAIL_ERROR_PARAMS,
			       "It is not a device token "
			       "(printable ASCII without blanks)");
		return FALSE;
	case WEBPUSH_UNSET_TOKENS:
		webpush_unset_tokens(state);
		return TRUE;
	}
	i_unreached();
}

/* Makes room for new ones, if there is somebody to ask. */
static void webpush_state_remove_gone(struct webpush_state *state)
{
	ARRAY_TYPE(coi_subscription) subs, gone;
	struct coi_subscription *sub;
	struct webpush_entry *entry;

	t_array_init(&subs, 16);
	t_array_init(&gone, 4);
	array_foreach_modifiable(&state->entries, entry) {
		if (entry->json != NULL && !entry->changed) {
			sub = array_append_space(&subs);
			sub->id = entry->id;
			sub->json = entry->json;
		}
	}
	webpush_ask_gone(state->user, &subs, &gone);
	array_foreach_modifiable(&gone, sub)
		webpush_entry_change(webpush_state_find(state, sub->id), NULL);
}

/* Makes the changes to the state. Returns -1 if they are refused. */
static int
webpush_apply(struct coi_webpush *webpush, struct webpush_state *state,
	      const struct coi_settings *set)
{
	const struct coi_webpush_change *change;
	unsigned int old_count, count;

	webpush_state_expire(state);
	old_count = webpush_state_count(state);
	array_foreach(&webpush->changes, change) {
		if (!webpush_change_apply(change, state, webpush))
			return -1;
	}
	count = webpush_state_count(state);
	if (count > set->webpush_subscription_limit && count > old_count) {
		webpush_state_remove_gone(state);
		count = webpush_state_count(state);
	}
	if (count > set->webpush_subscription_limit && count > old_count) {
		webpush_refuse(webpush, MAIL_ERROR_LIMIT,
			       "[METADATA TOOMANY] There are too many "
			       "push subscriptions");
		return -1;
	}
	return 0;
}

static const char *webpush_new_validation(void)
{
	unsigned char text[WEBPUSH_VALIDATION_BYTES];
	buffer_t *buf = t_buffer_create(64);

	random_fill(text, sizeof(text));
	base64url_encode(BASE64_ENCODE_FLAG_NO_PADDING, SIZE_MAX, text,
			 sizeof(text), buf);
	return str_c(buf);
}

static int
webpush_parse_all(struct coi_webpush *webpush, const struct coi_push *push,
		  const struct coi_settings *set)
{
	struct coi_webpush_change *change;
	int64_t now = time(NULL);
	const char *error;
	size_t size;

	array_foreach_modifiable(&webpush->changes, change) {
		if (change->op != WEBPUSH_SUBSCRIBE)
			continue;
		change->json = i_malloc(COI_SUBSCRIPTION_MAX_SIZE + 1);
		error = push->subscription_parse(
			coi_bytes_from_str(change->text), now,
			now + set->webpush_subscription_expire,
			coi_bytes_from_str(webpush_new_validation()),
			change->json, &size);
		if (error != NULL) {
			webpush_refuse(
				webpush, MAIL_ERROR_PARAMS,
				p_strconcat(webpush->pool,
					    "The subscription can't be used: ",
					    error, NULL));
			return -1;
		}
		change->json[size] = '\0';
	}
	return 0;
}

/* SUB-12: what the service says is translated, and nothing of it is passed
   on. */
static void
webpush_refuse_registration(struct coi_webpush *webpush, const char *word)
{
	static const struct {
		const char *word;
		enum mail_error code;
		const char *reason;
	} answers[] = {
		{ "bad-key", MAIL_ERROR_PARAMS,
		  "resource.keys.p256dh is not a key" },
		{ "not-allowed", MAIL_ERROR_NOTPOSSIBLE,
		  "This push service is not allowed" },
		{ "unreachable", MAIL_ERROR_UNAVAILABLE,
		  "The push service is unreachable" },
		{ "refused", MAIL_ERROR_NOTPOSSIBLE,
		  "The push service refused the message" },
		{ "busy", MAIL_ERROR_LIMIT,
		  "Too many registrations, try again later" },
	};

	for (unsigned int i = 0; i < N_ELEMENTS(answers); i++) {
		if (strcmp(answers[i].word, word) == 0) {
			webpush_refuse(webpush, answers[i].code,
				       answers[i].reason);
			return;
		}
	}
	webpush_refuse(webpush, MAIL_ERROR_UNAVAILABLE,
		       WEBPUSH_ERROR_UNAVAILABLE);
}

static bool
webpush_change_set_vapid(struct coi_webpush_change *change,
			 const struct coi_push *push, const char *vapid)
{
	char *buf = i_malloc(COI_SUBSCRIPTION_MAX_SIZE + 1);
	size_t size;

	if (!push->subscription_set_vapid(coi_bytes_from_str(change->json),
					  coi_bytes_from_str(vapid), buf,
					  &size)) {
		i_free(buf);
		return FALSE;
	}
	buf[size] = '\0';
	i_free(change->json);
	change->json = buf;
	return TRUE;
}

static int
webpush_register_one(struct coi_webpush *webpush, struct mail_user *user,
		     struct coi_webpush_change *change, uint64_t deadline)
{
	struct coi_subscription sub = { .id = change->id,
					.json = change->json };
	uint64_t now = coi_handoff_clock();
	struct coi_handoff_answer answer;
	string_t *line = t_str_new(1024);
	unsigned int pos = 0;
	const char *error, *vapid;

	coi_handoff_write_register(line, user->username, &sub);
	if (coi_handoff_ask(webpush_socket_path(user), line,
			    now < deadline ? (unsigned int)(deadline - now) : 0,
			    &answer, &error) < 0) {
		e_error(user->event,
			"coi: coi-push can't register a push subscription: %s",
			error);
		webpush_refuse(webpush, MAIL_ERROR_UNAVAILABLE,
			       WEBPUSH_ERROR_UNAVAILABLE);
		return -1;
	}
	if (!answer.ok) {
		webpush_refuse_registration(webpush, answer.word);
		return -1;
	}
	vapid = coi_handoff_answer_next(&answer, "vapid", &pos);
	if (vapid == NULL ||
	    !webpush_change_set_vapid(change, coi_push_get(user->event),
				      vapid)) {
		e_error(user->event,
			"coi: coi-push registered a push subscription "
			"with a key that can't be used");
		webpush_refuse(webpush, MAIL_ERROR_UNAVAILABLE,
			       WEBPUSH_ERROR_UNAVAILABLE);
		return -1;
	}
	return 0;
}

static int
webpush_register_all(struct coi_webpush *webpush, struct mail_user *user,
		     const struct coi_settings *set)
{
	struct coi_webpush_change *change;
	uint64_t deadline = coi_handoff_clock() +
		set->coi_push_register_timeout + WEBPUSH_REGISTER_GRACE_MSECS;
	int ret = 0;

	array_foreach_modifiable(&webpush->changes, change) {
		if (change->op == WEBPUSH_SUBSCRIBE && ret == 0) {
			T_BEGIN {
				ret = webpush_register_one(webpush, user,
							   change, deadline);
			}
			T_END;
		}
	}
	return ret;
}

static int webpush_fail(const struct coi_webpush *webpush, struct mailbox *box)
{
	mail_storage_set_error(box->storage, webpush->refused_code,
			       webpush->refused);
	return -1;
}

int coi_webpush_register(struct coi_webpush *webpush,
			 struct mailbox_transaction_context *t)
{
	struct mail_user *user = t->box->storage->user;
	const struct coi_settings *set;
	struct webpush_state state;

	if (webpush->pool == NULL)
		return 0;
	if (webpush->refused != NULL)
		return webpush_fail(webpush, t->box);
	set = coi_push_settings(user);
	i_assert(set != NULL);
	/* what can be refused without asking anybody is */
	if (webpush_state_read(&state, t->box, webpush) < 0 ||
	    webpush_parse_all(webpush, state.push, set) < 0 ||
	    webpush_apply(webpush, &state, set) < 0 ||
	    webpush_register_all(webpush, user, set) < 0)
		return webpush_fail(webpush, t->box);
	return 0;
}

static int webpush_entry_store(const struct webpush_entry *entry,
			       struct mailbox_transaction_context *t,
			       const struct mailbox_vfuncs *super)
{
	const char *key = t_strconcat(COI_SUBSCRIPTIONS_KEY_PREFIX, entry->id,
				      NULL);
	struct mail_attribute_value unset;

	if (entry->json != NULL)
		return coi_subscription_write(t, key, entry->json, 0);
	i_zero(&unset);
	return super->attribute_set(t, MAIL_ATTRIBUTE_TYPE_PRIVATE, key,
				    &unset);
}

int coi_webpush_store(struct coi_webpush *webpush,
		      struct mailbox_transaction_context *t,
		      const struct mailbox_vfuncs *super)
{
	const struct coi_settings *set;
	const struct webpush_entry *entry;
	struct coi_subscription *sub;
	struct webpush_state state;
	const char *error;

	if (webpush->pool == NULL)
		return 0;
	set = coi_push_settings(t->box->storage->user);
	if (coi_lock_create(t->box, WEBPUSH_LOCK_NAME,
			    webpush->impatient ? 0 : WEBPUSH_LOCK_SECS,
			    &webpush->lock, &error) <= 0) {
		if (!webpush->impatient) {
			e_error(t->box->event,
				"coi: Can't lock the push subscriptions: %s",
				error);
		}
		webpush_refuse(webpush, MAIL_ERROR_UNAVAILABLE,
			       WEBPUSH_ERROR_UNAVAILABLE);
		return webpush_fail(webpush, t->box);
	}
	if (webpush_state_read(&state, t->box, webpush) < 0 ||
	    webpush_apply(webpush, &state, set) < 0)
		return webpush_fail(webpush, t->box);
	array_foreach(&state.entries, entry) {
		if (entry->changed && webpush_entry_store(entry, t, super) < 0)
			return -1;
		if (entry->dismissed && entry->stored != NULL) {
			sub = array_append_space(&webpush->dismissed);
			sub->id = p_strdup(webpush->pool, entry->id);
			sub->json = p_strdup(webpush->pool, entry->stored);
		}
	}
	return 0;
}

void coi_webpush_stored(struct coi_webpush *webpush, struct mail_user *user)
{
	const struct coi_settings *set;
	struct coi_handoff_answer answer;
	const char *error;
	string_t *line;

	if (webpush->lock != NULL)
		file_lock_free(&webpush->lock);
	if (webpush->pool == NULL || array_is_empty(&webpush->dismissed) ||
	    coi_handoff_is_away())
		return;
	set = coi_push_settings(user);
	i_assert(set != NULL);
	line = t_str_new(1024);
	(void)coi_handoff_write_forget(line, user->username,
				       array_front(&webpush->dismissed),
				       array_count(&webpush->dismissed));
	if (coi_handoff_ask(webpush_socket_path(user), line,
			    set->coi_push_handoff_timeout, &answer,
			    &error) < 0) {
		coi_handoff_set_away();
		e_warning(user->event,
			  "coi: Can't tell coi-push that a push subscription "
			  "was removed: %s",
			  error);
	}
}

static int webpush_forget_inbox(struct mailbox *inbox, bool impatient,
				const ARRAY_TYPE(coi_subscription) *subs)
{
	struct mailbox_transaction_context *t;
	const struct coi_subscription *sub;
	struct coi_webpush *webpush;

	if (mailbox_open(inbox) < 0)
		return -1;
	t = mailbox_transaction_begin(inbox, MAILBOX_TRANSACTION_FLAG_EXTERNAL,
				      __func__);
	webpush = webpush_get_changes(t);
	webpush->impatient = impatient;
	array_foreach(subs, sub) {
		webpush_add_change(webpush, WEBPUSH_UNSUBSCRIBE, sub->id,
				   p_strdup(webpush->pool, sub->json));
	}
	return mailbox_transaction_commit(&t);
}

void coi_webpush_forget(struct mail_user *user, bool impatient,
			const ARRAY_TYPE(coi_subscription) *subs)
{
	static uint64_t failed_until;
	struct mail_namespace *ns;
	struct mailbox *inbox;

	if (array_is_empty(subs) ||
	    (impatient && coi_handoff_clock() < failed_until))
		return;
	ns = coi_user_inbox_namespace(user);
	inbox = mailbox_alloc(ns->list, "INBOX", MAILBOX_FLAG_IGNORE_ACLS);
	if (webpush_forget_inbox(inbox, impatient, subs) < 0) {
		failed_until = coi_handoff_clock() + WEBPUSH_FORGET_PAUSE_MSECS;
		e_error(user->event,
			"coi: Can't remove push subscriptions that are gone: "
			"%s",
			mailbox_get_last_internal_error(inbox, NULL));
	}
	mailbox_free(&inbox);
}

void coi_webpush_init(void)
{
	mailbox_attribute_register_internal(&webpush_attribute);
}

void coi_webpush_deinit(void)
{
	mailbox_attribute_unregister_internal(&webpush_attribute);
}
