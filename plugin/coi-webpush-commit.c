/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/*
 * A commit asks the push services first, without a lock, for that may take
 * long. Then, under a lock, the subscriptions are read again and the changes
 * are made to what they are now: two that race can't exceed the limit. They are
 * written by the transaction that is being committed, together with what else
 * it sets, all or nothing.
 */

#include "lib.h"
#include "array.h"
#include "base64.h"
#include "buffer.h"
#include "file-lock.h"
#include "randgen.h"
#include "str.h"
#include "coi-compat.h"
#include "coi-core.h"
#include "coi-device-token.h"
#include "coi-lock.h"
#include "coi-subscriptions.h"
#include "coi-user.h"
#include "coi-webpush-private.h"

#include <time.h>

#define WEBPUSH_LOCK_NAME "dovecot-coi-push.lock"
#define WEBPUSH_LOCK_SECS 20
/* A delivery that can't remove what is gone leaves it to later ones. */
#define WEBPUSH_FORGET_PAUSE_MSECS 60000
/* The service's own time for a registration is as long as ours. */
#define WEBPUSH_REGISTER_GRACE_MSECS 500
#define WEBPUSH_VALIDATION_BYTES 32

/* A token that is set again is as good as new, but isn't written each time. */
#define WEBPUSH_TOKEN_REFRESH_SECS INT64_C(86400)

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
		coi_webpush_refuse(webpush, MAIL_ERROR_UNAVAILABLE,
				   COI_WEBPUSH_ERROR_UNAVAILABLE);
		return -1;
	}
	t_array_init(&subs, 16);
	if (coi_subscriptions_read(state->user, box, state->pool, &subs,
				   &error) < 0) {
		e_error(box->event,
			"coi: Can't read the push subscriptions: %s", error);
		coi_webpush_refuse(webpush, MAIL_ERROR_UNAVAILABLE,
				   COI_WEBPUSH_ERROR_UNAVAILABLE);
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
static bool webpush_state_drop_token(struct webpush_state *state)
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
	if (count <= COI_DEVICE_TOKENS_MAX)
		return FALSE;
	webpush_entry_change(oldest, NULL);
	oldest->dismissed = TRUE;
	return TRUE;
}

/* It needn't be written again. The gateway may have said meanwhile that it is gone:
   then it is a new one. */
static bool
webpush_entry_is_fresh(const struct webpush_state *state,
		       const struct webpush_entry *entry, int64_t set)
{
	struct coi_subscription sub = { .id = entry->id, .json = entry->json };

	return state->now >= set &&
		state->now - set < WEBPUSH_TOKEN_REFRESH_SECS &&
		!coi_webpush_is_gone(state->user, &sub);
}

static bool webpush_set_token(struct webpush_state *state,
			      const struct coi_webpush_change *change)
{
	struct webpush_entry *entry = webpush_state_find(state, change->id);
	char *buf = p_malloc(state->pool, COI_SUBSCRIPTION_MAX_SIZE + 1);
	int64_t set, now = state->now;
	size_t size;

	if (entry != NULL && webpush_entry_is_token(state, entry, &set)) {
		if (webpush_entry_is_fresh(state, entry, set))
			return TRUE;
		/* What waits for the old one isn't sent as well; and the service
		   tells them apart by their times. */
		entry->dismissed = TRUE;
		now = I_MAX(now, set + 1);
	}
	if (!state->push->device_token_store(coi_bytes_from_str(change->text),
					     now, buf, &size))
		return FALSE;
	buf[size] = '\0';
	if (entry == NULL) {
		entry = array_append_space(&state->entries);
		entry->id = change->id;
	}
	webpush_entry_change(entry, buf);
	while (webpush_state_drop_token(state))
		;
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
	case COI_WEBPUSH_SUBSCRIBE:
		if (entry == NULL) {
			entry = array_append_space(&state->entries);
			entry->id = change->id;
		}
		webpush_entry_change(entry, change->json);
		entry->dismissed = TRUE;
		return TRUE;
	case COI_WEBPUSH_UNSUBSCRIBE:
		if (entry != NULL && entry->json != NULL &&
		    (change->text == NULL ||
		     strcmp(change->text, entry->json) == 0)) {
			webpush_entry_change(entry, NULL);
			/* not if it is the service that wants it removed */
			entry->dismissed = change->text == NULL;
		}
		return TRUE;
	case COI_WEBPUSH_VALIDATE:
		if (webpush_validate(state, entry, change->text))
			return TRUE;
		/* the same, whatever is wrong: an id that isn't there, too */
		coi_webpush_refuse(webpush, MAIL_ERROR_PARAMS,
				   "The validation text is wrong or too old");
		return FALSE;
	case COI_WEBPUSH_SET_TOKEN:
		if (webpush_set_token(state, change))
			return TRUE;
		coi_webpush_refuse(webpush, MAIL_ERROR_PARAMS,
				   "It is not a device token "
				   "(printable ASCII without blanks)");
		return FALSE;
	case COI_WEBPUSH_UNSET_TOKENS:
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
	coi_webpush_ask_gone(state->user, &subs, &gone);
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
		coi_webpush_refuse(webpush, MAIL_ERROR_LIMIT,
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
		if (change->op != COI_WEBPUSH_SUBSCRIBE)
			continue;
		change->json = i_malloc(COI_SUBSCRIPTION_MAX_SIZE + 1);
		error = push->subscription_parse(
			coi_bytes_from_str(change->text), now,
			now + set->webpush_subscription_expire,
			coi_bytes_from_str(webpush_new_validation()),
			change->json, &size);
		if (error != NULL) {
			coi_webpush_refuse(
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
			coi_webpush_refuse(webpush, answers[i].code,
					   answers[i].reason);
			return;
		}
	}
	coi_webpush_refuse(webpush, MAIL_ERROR_UNAVAILABLE,
			   COI_WEBPUSH_ERROR_UNAVAILABLE);
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
		     struct coi_webpush_change *change,
		     unsigned int timeout_msecs)
{
	struct coi_subscription sub = { .id = change->id,
					.json = change->json };
	struct coi_handoff_answer answer;
	string_t *line = t_str_new(1024);
	unsigned int pos = 0;
	const char *error, *vapid;

	coi_handoff_write_register(line, user->username, &sub);
	if (coi_handoff_ask(coi_handoff_socket_path(user->set->base_dir), line,
			    timeout_msecs, &answer, &error) < 0) {
		e_error(user->event,
			"coi: coi-push can't register a push subscription: %s",
			error);
		coi_webpush_refuse(webpush, MAIL_ERROR_UNAVAILABLE,
				   COI_WEBPUSH_ERROR_UNAVAILABLE);
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
		coi_webpush_refuse(webpush, MAIL_ERROR_UNAVAILABLE,
				   COI_WEBPUSH_ERROR_UNAVAILABLE);
		return -1;
	}
	return 0;
}

static int
webpush_register_all(struct coi_webpush *webpush, struct mail_user *user,
		     const struct coi_settings *set)
{
	struct coi_webpush_change *change;
	/* it may be infinite */
	unsigned int timeout_msecs =
		I_MIN(set->coi_push_register_timeout,
		      UINT_MAX - WEBPUSH_REGISTER_GRACE_MSECS) +
		WEBPUSH_REGISTER_GRACE_MSECS;
	int ret = 0;

	array_foreach_modifiable(&webpush->changes, change) {
		if (change->op == COI_WEBPUSH_SUBSCRIBE && ret == 0) {
			T_BEGIN {
				ret = webpush_register_one(
					webpush, user, change, timeout_msecs);
			}
			T_END;
		}
	}
	return ret;
}

static bool webpush_subscribes(const struct coi_webpush *webpush)
{
	const struct coi_webpush_change *change;

	array_foreach(&webpush->changes, change) {
		if (change->op == COI_WEBPUSH_SUBSCRIBE ||
		    change->op == COI_WEBPUSH_SET_TOKEN)
			return TRUE;
	}
	return FALSE;
}

/* A master user may set server metadata whatever an ACL says of INBOX. But a push tells
   what is in a mail. */
static int
webpush_check_rights(struct coi_webpush *webpush, struct mail_user *user)
{
	enum mail_error code = MAIL_ERROR_NONE;
	struct mailbox *inbox;

	if (!webpush_subscribes(webpush))
		return 0;
	inbox = mailbox_alloc(coi_user_inbox_list(user), "INBOX",
			      MAILBOX_FLAG_READONLY);
	if (mailbox_open(inbox) < 0)
		code = mailbox_get_last_mail_error(inbox);
	mailbox_free(&inbox);
	/* An ACL that doesn't let INBOX be seen either makes it missing. */
	if (code != MAIL_ERROR_PERM && code != MAIL_ERROR_NOTFOUND)
		return 0;
	coi_webpush_refuse(webpush, MAIL_ERROR_PERM,
			   "Only who may read INBOX can subscribe");
	return -1;
}

/* What dsync copies is none. */
static bool webpush_has_changes(const struct coi_webpush *webpush)
{
	return webpush->pool != NULL &&
		(webpush->refused != NULL ||
		 !array_is_empty(&webpush->changes));
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

	if (!webpush_has_changes(webpush))
		return 0;
	if (webpush->refused != NULL)
		return webpush_fail(webpush, t->box);
	set = coi_push_settings(user);
	i_assert(set != NULL);
	/* what can be refused without asking anybody is */
	if (webpush_state_read(&state, t->box, webpush) < 0 ||
	    webpush_parse_all(webpush, state.push, set) < 0 ||
	    webpush_apply(webpush, &state, set) < 0 ||
	    webpush_check_rights(webpush, user) < 0 ||
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
	struct webpush_state state;
	const char *error;
	int ret;

	if (!webpush_has_changes(webpush))
		return 0;
	set = coi_push_settings(t->box->storage->user);
	ret = coi_lock_create(t->box, WEBPUSH_LOCK_NAME,
			      webpush->impatient ? 0 : WEBPUSH_LOCK_SECS,
			      &webpush->lock, &error);
	if (ret == 0 && webpush->impatient) {
		coi_webpush_refuse(webpush, MAIL_ERROR_INUSE,
				   COI_WEBPUSH_ERROR_UNAVAILABLE);
		return webpush_fail(webpush, t->box);
	}
	if (ret <= 0) {
		e_error(t->box->event,
			"coi: Can't lock the push subscriptions: %s", error);
		coi_webpush_refuse(webpush, MAIL_ERROR_UNAVAILABLE,
				   COI_WEBPUSH_ERROR_UNAVAILABLE);
		return webpush_fail(webpush, t->box);
	}
	if (webpush_state_read(&state, t->box, webpush) < 0 ||
	    webpush_apply(webpush, &state, set) < 0)
		return webpush_fail(webpush, t->box);
	array_foreach(&state.entries, entry) {
		if (entry->changed && webpush_entry_store(entry, t, super) < 0)
			return -1;
		if (entry->dismissed && entry->stored != NULL)
			coi_webpush_dismiss(webpush, entry->id, entry->stored);
	}
	return 0;
}

void coi_webpush_stored(struct coi_webpush *webpush, struct mail_user *user)
{
	const char *error;

	if (webpush->lock != NULL)
		file_lock_free(&webpush->lock);
	if (webpush->pool == NULL || array_is_empty(&webpush->dismissed))
		return;
	if (coi_webpush_ask_about(user, coi_handoff_write_forget,
				  &webpush->dismissed, NULL, &error) < 0) {
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
	webpush = coi_webpush_get_changes(t);
	webpush->impatient = impatient;
	array_foreach(subs, sub) {
		coi_webpush_add_change(webpush, COI_WEBPUSH_UNSUBSCRIBE,
				       sub->id,
				       p_strdup(webpush->pool, sub->json));
	}
	return mailbox_transaction_commit(&t);
}

void coi_webpush_forget(struct mail_user *user, bool impatient,
			const ARRAY_TYPE(coi_subscription) *subs)
{
	static uint64_t failed_until;
	struct mailbox *inbox;
	enum mail_error code;
	const char *error;

	if (array_is_empty(subs) ||
	    (impatient && coi_handoff_clock() < failed_until))
		return;
	inbox = coi_user_inbox_alloc(user);
	if (webpush_forget_inbox(inbox, impatient, subs) < 0) {
		error = mailbox_get_last_internal_error(inbox, &code);
		/* Whoever changes them now may be doing the same, and a later
		   delivery sees to it. */
		if (code != MAIL_ERROR_INUSE) {
			failed_until = coi_handoff_clock() +
				WEBPUSH_FORGET_PAUSE_MSECS;
			e_error(user->event,
				"coi: Can't remove push subscriptions that are "
				"gone: %s",
				error);
		}
	}
	mailbox_free(&inbox);
}
