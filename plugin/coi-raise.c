/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/*
 * A delivery is followed from commit to commit: Sieve stores a mail in any
 * number of folders, or in none, and what it leaves to Dovecot is stored after
 * our hook has returned. So it is the commits that tell what to push, and not
 * what the hook is asked to do.
 *
 * Nothing here can fail a delivery, or make it wait longer than the hand-off
 * may take; but a mail that Sieve has edited is read from where it was stored.
 */

#include "lib.h"
#include "array.h"
#include "istream.h"
#include "str.h"
#include "mail-storage-private.h"
#include "mail-namespace.h"
#include "coi-compat.h"
#include "coi-core.h"
#include "coi-dict.h"
#include "coi-folders.h"
#include "coi-handoff.h"
#include "coi-keyword.h"
#include "coi-metadata.h"
#include "coi-push-mail.h"
#include "coi-subscriptions.h"
#include "coi-user.h"
#include "coi-webpush.h"
#include "coi-raise.h"

/* A client may copy any number of mails at once. */
#define RAISE_MAX_APPENDED 20

struct coi_raise {
	struct event *event;
	struct mail *src_mail;

	/* The user's subscriptions have been read. */
	bool subs_read;
	ARRAY_TYPE(coi_subscription) subs;

	/* our hook has returned */
	bool ended;
	/* the push has been raised, or there will be none */
	bool done;

	/* where it was stored */
	bool stored, preferred;
	bool chat;
	/* not as it came */
	bool edited;
	const char *folder;
	uint32_t uid, uidvalidity;
};

/* What INBOX is in. */
static struct mail_storage *raise_get_storage(struct mail_user *user)
{
	return mail_namespace_get_default_storage(
		coi_user_inbox_namespace(user));
}

static void raise_read_subscriptions(struct mail_user *user, pool_t pool,
				     ARRAY_TYPE(coi_subscription) *subs)
{
	struct mail_storage *storage;
	const char *error;
	uint64_t start;
	int ret;

	p_array_init(subs, pool, 4);
	if (coi_dict_is_missing(user) || coi_push_settings(user) == NULL)
		return;
	start = coi_handoff_clock();
	if (coi_metadata_is_away() || !coi_subscriptions_may_exist(user))
		return;
	/* the delivery may yet ask for an error from before */
	storage = raise_get_storage(user);
	mail_storage_last_error_push(storage);
	ret = coi_subscriptions_read_wishes(user, pool, subs, &error);
	mail_storage_last_error_pop(storage);
	if (ret < 0) {
		array_clear(subs);
		coi_metadata_failed(start);
		coi_metadata_log_failure(user, "nothing is pushed", error);
	}
}

static bool raise_is_wish(const struct coi_subscription *sub, bool chat)
{
	return chat ? sub->wishes.chat : sub->wishes.mail;
}

static bool raise_is_wanted(const ARRAY_TYPE(coi_subscription) *subs, bool chat)
{
	const struct coi_subscription *sub;
	unsigned int count;

	sub = array_get(subs, &count);
	for (unsigned int i = 0; i < count; i++) {
		if (raise_is_wish(&sub[i], chat))
			return TRUE;
	}
	return FALSE;
}

/* Leaves those that want the mail. */
static void
raise_filter(struct mail_user *user, const struct coi_handoff_mail *info,
	     const ARRAY_TYPE(coi_subscription) *subs,
	     ARRAY_TYPE(coi_subscription) *wanting)
{
	const struct coi_push *push = coi_push_get(user->event);
	const struct coi_subscription *sub;
	struct coi_push_mail mail = {
		.chat = info->chat,
		.from_email = coi_bytes_from_str(info->from_email),
	};
	unsigned int count;

	sub = array_get(subs, &count);
	for (unsigned int i = 0; i < count; i++) {
		if (raise_is_wish(&sub[i], info->chat) &&
		    (!sub[i].wishes.excludes ||
		     push->subscription_wants(coi_bytes_from_str(sub[i].json),
					      &mail)))
			array_push_back(wanting, &sub[i]);
	}
}

static const char *raise_outcome_name(enum coi_handoff_outcome outcome)
{
	switch (outcome) {
	case COI_HANDOFF_QUEUED:
		return "queued";
	case COI_HANDOFF_SPOOLED:
		return "spooled";
	case COI_HANDOFF_FAILED:
		return "failed";
	}
	i_unreached();
}

static void
raise_send_event(struct event *event, const struct coi_handoff_mail *info,
		 enum coi_handoff_outcome outcome, unsigned int count)
{
	struct event_passthrough *e;

	e = event_create_passthrough(event)
		    ->set_name("coi_push_handed_off")
		    ->add_str("outcome", raise_outcome_name(outcome))
		    ->add_str("chat", info->chat ? "yes" : "no")
		    ->add_int("subscriptions", count);
	e_debug(e->event(), "coi: Handed a mail to coi-push (%s)",
		raise_outcome_name(outcome));
}

/* Not all of them need fit into one request. */
static void raise_hand_off(struct mail_user *user, struct event *event,
			   const struct coi_handoff_mail *info,
			   const ARRAY_TYPE(coi_subscription) *subs,
			   ARRAY_TYPE(coi_subscription) *gone)
{
	const struct coi_settings *set = coi_user_settings(user);
	struct coi_handoff_service service = {
		.event = event,
		.socket_path = coi_handoff_socket_path(user->set->base_dir),
		.spool_dir = set->coi_push_spool_dir,
		.timeout_msecs = set->coi_push_handoff_timeout,
	};
	string_t *line = t_str_new(4096);
	struct coi_handoff_answer answer;
	enum coi_handoff_outcome outcome;
	const struct coi_subscription *sub;
	unsigned int count, added;
	const char *id;

	sub = array_get(subs, &count);
	while (count > 0) {
		id = coi_handoff_new_id();
		added = coi_handoff_write_deliver(line, id, user->username, sub,
						  count, info);
		if (added == 0)
			break;
		outcome = coi_handoff_deliver(&service, id, line, &answer);
		if (outcome == COI_HANDOFF_QUEUED)
			coi_webpush_get_gone(&answer, subs, gone);
		raise_send_event(event, info, outcome, added);
		sub += added;
		count -= added;
	}
}

static void
raise_push(struct mail_user *user, struct event *event, struct mail *mail,
	   const ARRAY_TYPE(coi_subscription) *subs,
	   struct coi_handoff_mail *info)
{
	ARRAY_TYPE(coi_subscription) wanting, gone;

	if (!raise_is_wanted(subs, info->chat))
		return;
	coi_push_mail_read(mail, info);
	if (coi_push_mail_is_mdn(info->content_type))
		return;
	t_array_init(&wanting, 8);
	raise_filter(user, info, subs, &wanting);
	if (array_is_empty(&wanting))
		return;
	coi_push_mail_read_body(mail, info);
	t_array_init(&gone, 4);
	raise_hand_off(user, event, info, &wanting, &gone);
	coi_webpush_forget(user, TRUE, &gone);
}

void coi_raise_delivery_begin(struct mail_user *user, struct event *event,
			      struct mail *src_mail)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	const struct coi_settings *set = coi_user_settings(user);
	struct coi_raise *raise;

	if (set == NULL || !set->coi_push)
		return;
	raise = p_new(user->pool, struct coi_raise, 1);
	raise->event = event;
	raise->src_mail = src_mail;
	cuser->raise = raise;
}

static bool raise_have_subscriptions(struct mail_user *user)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	struct coi_raise *raise = cuser->raise;

	if (raise == NULL || raise->done)
		return FALSE;
	if (!raise->subs_read) {
		raise->subs_read = TRUE;
		raise_read_subscriptions(user, user->pool, &raise->subs);
		raise->done = array_is_empty(&raise->subs);
	}
	return !raise->done;
}

/* Opens a mailbox to read what was stored in it. */
static int raise_open(struct mailbox *box, const char *consequence)
{
	if (mailbox_open(box) == 0 &&
	    mailbox_sync(box, MAILBOX_SYNC_FLAG_FAST) == 0)
		return 0;
	e_error(box->event, "coi: Can't read mail that was stored, so %s: %s",
		consequence, mailbox_get_last_internal_error(box, NULL));
	return -1;
}

/* Only the user may have the password of the key that it was encrypted for; what of its
   header is in Dovecot's cache could be read nevertheless. */
static bool raise_can_read(struct mail *mail)
{
	static bool logged = FALSE;
	struct istream *input;
	const char *error;
	bool ret = FALSE;

	if (mail_get_stream(mail, NULL, NULL, &input) < 0) {
		error = mailbox_get_last_internal_error(mail->box, NULL);
	} else {
		ret = i_stream_read(input) >= 0 || input->stream_errno == 0;
		error = i_stream_get_error(input);
		i_stream_seek(input, 0);
	}
	if (!ret && !logged) {
		logged = TRUE;
		e_info(mail->box->event,
		       "coi: Can't read mail that was stored, "
		       "so what came is pushed: %s",
		       error);
	}
	return ret;
}

/* Of what a script has edited, the push tells what is in the mailbox. Returns FALSE
   if that can't be read. */
static bool raise_push_stored(struct mail_user *user, struct mailbox *box,
			      struct coi_handoff_mail *info)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	struct coi_raise *raise = cuser->raise;
	struct mailbox_transaction_context *t;
	struct mail *mail;
	bool found;

	if (raise_open(box, "what came is pushed") < 0)
		return FALSE;
	t = mailbox_transaction_begin(box, 0, __func__);
	mail = mail_alloc(t, 0, NULL);
	found = mail_set_uid(mail, info->uid) && raise_can_read(mail);
	if (found)
		raise_push(user, raise->event, mail, &raise->subs, info);
	mail_free(&mail);
	(void)mailbox_transaction_commit(&t);
	return found;
}

static bool
raise_push_edited(struct mail_user *user, struct coi_handoff_mail *info)
{
	struct mailbox *box;
	bool ret;

	box = mailbox_alloc_for_user(user, info->folder,
				     MAILBOX_FLAG_READONLY |
					     MAILBOX_FLAG_IGNORE_ACLS);
	mail_storage_last_error_push(box->storage);
	ret = raise_push_stored(user, box, info);
	mail_storage_last_error_pop(box->storage);
	mailbox_free(&box);
	return ret;
}

static void raise_delivered_push(struct mail_user *user)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	struct coi_raise *raise = cuser->raise;
	struct coi_handoff_mail info = {
		.chat = raise->chat,
		.uid = raise->uid,
		.uidvalidity = raise->uidvalidity,
		.folder = raise->folder,
	};
	struct mail_storage *storage = raise_get_storage(user);

	raise->done = TRUE;
	mail_storage_last_error_push(storage);
	T_BEGIN {
		if (!raise->edited || !raise_push_edited(user, &info)) {
			raise_push(user, raise->event, raise->src_mail,
				   &raise->subs, &info);
		}
	}
	T_END;
	mail_storage_last_error_pop(storage);
}

void coi_raise_delivery_end(struct mail_user *user)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);

	if (cuser == NULL || cuser->raise == NULL)
		return;
	cuser->raise->ended = TRUE;
	if (cuser->raise->stored && !cuser->raise->done)
		raise_delivered_push(user);
}

void coi_raise_delivery_cancel(struct mail_user *user)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);

	if (cuser->raise != NULL)
		cuser->raise->done = TRUE;
}

bool coi_raise_wants_uid(struct mailbox *box, bool chat)
{
	struct mail_user *user = box->storage->user;
	struct coi_user *cuser = COI_USER_CONTEXT(user);

	/* POST_SESSION: the delivery itself, and not what it does besides */
	if ((box->flags & MAILBOX_FLAG_POST_SESSION) == 0 ||
	    !raise_have_subscriptions(user))
		return FALSE;
	return raise_is_wanted(&cuser->raise->subs, chat);
}

bool coi_raise_is_chat(struct mail_save_context *ctx)
{
	struct mailbox *box = ctx->transaction->box;
	unsigned int idx;

	return ctx->data.keywords != NULL && coi_keyword_lookup(box, &idx) &&
		coi_keyword_in_keywords(ctx->data.keywords, idx);
}

bool coi_raise_is_edited(struct mailbox *box, const struct mail *mail)
{
	struct coi_user *cuser = COI_USER_CONTEXT(box->storage->user);

	return cuser->raise != NULL && mail != cuser->raise->src_mail;
}

static bool raise_is_preferred(struct mailbox *box)
{
	return box->inbox_user ||
		coi_folder_is(box, coi_folder_chats(box->storage->user));
}

void coi_raise_delivered(struct mailbox *box, bool chat, bool edited,
			 const struct mail_transaction_commit_changes *changes)
{
	struct mail_user *user = box->storage->user;
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	struct coi_raise *raise = cuser->raise;
	struct seq_range_iter iter;
	bool preferred;

	if ((box->flags & MAILBOX_FLAG_POST_SESSION) == 0 ||
	    !array_is_created(&changes->saved_uids) ||
	    array_is_empty(&changes->saved_uids) ||
	    !raise_have_subscriptions(user))
		return;
	preferred = raise_is_preferred(box);
	if (!raise->stored || (preferred && !raise->preferred)) {
		raise->stored = TRUE;
		raise->preferred = preferred;
		raise->chat = chat;
		raise->edited = edited;
		raise->folder = p_strdup(user->pool, box->vname);
		seq_range_array_iter_init(&iter, &changes->saved_uids);
		(void)seq_range_array_iter_nth(&iter, 0, &raise->uid);
		raise->uidvalidity = changes->uid_validity;
	}
	if (raise->ended)
		raise_delivered_push(user);
}

static void
raise_appended_mail(struct mail *mail, const ARRAY_TYPE(coi_subscription) *subs)
{
	struct mailbox *box = mail->box;
	struct mailbox_status status;
	struct coi_handoff_mail info;
	unsigned int idx;

	if ((mail_get_flags(mail) & (MAIL_SEEN | MAIL_DRAFT)) != 0)
		return;
	mailbox_get_open_status(box, STATUS_UIDVALIDITY, &status);
	i_zero(&info);
	info.chat = coi_keyword_lookup(box, &idx) &&
		coi_keyword_in_mail(mail, idx);
	info.uid = mail->uid;
	info.uidvalidity = status.uidvalidity;
	info.folder = box->vname;
	raise_push(box->storage->user, box->event, mail, subs, &info);
}

static void
raise_appended_uids(struct mailbox *box, const ARRAY_TYPE(seq_range) *uids,
		    const ARRAY_TYPE(coi_subscription) *subs)
{
	struct mailbox_transaction_context *t;
	struct seq_range_iter iter;
	struct mail *mail;
	unsigned int n = 0;
	uint32_t uid;

	if (raise_open(box, "it isn't pushed") < 0)
		return;
	t = mailbox_transaction_begin(box, 0, __func__);
	mail = mail_alloc(t, MAIL_FETCH_FLAGS, NULL);
	seq_range_array_iter_init(&iter, uids);
	while (n < RAISE_MAX_APPENDED &&
	       seq_range_array_iter_nth(&iter, n++, &uid)) {
		T_BEGIN {
			if (mail_set_uid(mail, uid))
				raise_appended_mail(mail, subs);
		}
		T_END;
	}
	mail_free(&mail);
	(void)mailbox_transaction_commit(&t);
}

void coi_raise_appended(struct mailbox *box,
			const struct mail_transaction_commit_changes *changes)
{
	struct mail_user *user = box->storage->user;
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	const struct coi_settings *set;
	ARRAY_TYPE(coi_subscription) subs;
	struct mailbox *read_box;

	if (!array_is_created(&changes->saved_uids) ||
	    array_is_empty(&changes->saved_uids) || user->dsyncing)
		return;
	set = coi_user_settings(user);
	if (set == NULL || !set->coi_push || !set->coi_push_appended)
		return;

	cuser->waiting = TRUE;
	raise_read_subscriptions(user, pool_datastack_create(), &subs);
	cuser->waiting = FALSE;
	if (!array_is_empty(&subs)) {
		mail_storage_last_error_push(box->storage);
		read_box = mailbox_alloc(box->list, box->vname,
					 MAILBOX_FLAG_READONLY |
						 MAILBOX_FLAG_IGNORE_ACLS);
		raise_appended_uids(read_box, &changes->saved_uids, &subs);
		mailbox_free(&read_box);
		mail_storage_last_error_pop(box->storage);
	}
}
