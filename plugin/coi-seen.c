/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/*
 * Several sessions may set \Seen on the same mails at once, and each would
 * copy them before it sees that another one has expunged them. So a move is
 * done by one session at a time, under a lock file next to INBOX's index, and
 * with a mailbox object of its own that is synced once the lock is held: what
 * another one has moved is gone by then. The session's own view of INBOX isn't
 * touched; it learns of the expunges when the client allows it to.
 */

#include "lib.h"
#include "array.h"
#include "file-lock.h"
#include "mail-storage-private.h"
#include "mail-search-build.h"
#include "coi-folders.h"
#include "coi-keyword.h"
#include "coi-mailbox.h"
#include "coi-metadata.h"
#include "coi-seen.h"

#define COI_SEEN_LOCK_NAME "dovecot-coi.lock"
#define COI_SEEN_LOCK_SECS 60

void coi_seen_init(struct coi_seen *seen)
{
	i_array_init(&seen->seen_seqs, 4);
	i_array_init(&seen->chat_seqs, 4);
	i_array_init(&seen->uids, 4);
}

void coi_seen_deinit(struct coi_seen *seen)
{
	array_free(&seen->seen_seqs);
	array_free(&seen->chat_seqs);
	array_free(&seen->uids);
}

void coi_seen_add_mail(struct mail *mail)
{
	struct coi_seen *seen;
	unsigned int idx;

	if (!coi_keyword_lookup(mail->box, &idx))
		return;
	seen = &coi_transaction_get(mail->transaction)->seen;
	seq_range_array_add(&seen->seen_seqs, mail->seq);
	if (coi_keyword_in_mail(mail, idx))
		seq_range_array_add(&seen->chat_seqs, mail->seq);
}

void coi_seen_add_keywords(struct mail *mail,
			   const struct mail_keywords *keywords)
{
	struct coi_seen *seen;
	unsigned int idx;

	if (!coi_keyword_lookup(mail->box, &idx) ||
	    !coi_keyword_in_keywords(keywords, idx))
		return;
	seen = &coi_transaction_get(mail->transaction)->seen;
	seq_range_array_add(&seen->chat_seqs, mail->seq);
}

void coi_seen_before_commit(struct coi_seen *seen,
			    struct mailbox_transaction_context *t)
{
	struct seq_range_iter iter;
	unsigned int n = 0;
	uint32_t seq, uid;

	seq_range_array_intersect(&seen->chat_seqs, &seen->seen_seqs);
	seq_range_array_iter_init(&iter, &seen->chat_seqs);
	while (seq_range_array_iter_nth(&iter, n++, &seq)) {
		mail_index_lookup_uid(t->view, seq, &uid);
		if (uid != 0)
			seq_range_array_add(&seen->uids, uid);
	}
}

/* Returns 0 if the mail was moved or is gone, -1 if error. */
static int
coi_seen_move_mail(struct mailbox_transaction_context *dest_trans,
		   struct mail *mail)
{
	struct mail_save_context *save_ctx;

	/* another session may have taken it back */
	if ((mail_get_flags(mail) & MAIL_SEEN) == 0)
		return 0;

	save_ctx = mailbox_save_alloc(dest_trans);
	mailbox_save_copy_flags(save_ctx, mail);
	coi_keyword_add(save_ctx);
	if (mailbox_move(&save_ctx, mail) < 0 && !mail->expunged)
		return -1;
	return 0;
}

static int
coi_seen_move_uids(struct mailbox *inbox, struct mailbox *chats,
		   const ARRAY_TYPE(seq_range) *uids, const char **error_r)
{
	struct mailbox_transaction_context *src_trans, *dest_trans;
	struct mail_search_args *search_args;
	struct mail_search_context *search_ctx;
	struct mail_search_arg *arg;
	struct mail *mail;
	int ret = 0;

	search_args = mail_search_build_init();
	arg = mail_search_build_add(search_args, SEARCH_UIDSET);
	p_array_init(&arg->value.seqset, search_args->pool, array_count(uids));
	array_append_array(&arg->value.seqset, uids);

	src_trans = mailbox_transaction_begin(inbox, 0, __func__);
	dest_trans = mailbox_transaction_begin(chats,
			MAILBOX_TRANSACTION_FLAG_EXTERNAL, __func__);
	search_ctx = mailbox_search_init(src_trans, search_args, NULL,
					 MAIL_FETCH_FLAGS, NULL);
	mail_search_args_unref(&search_args);
	while (ret == 0 && mailbox_search_next(search_ctx, &mail)) {
		ret = coi_seen_move_mail(dest_trans, mail);
		if (ret < 0) {
			*error_r = t_strdup(
				mailbox_get_last_internal_error(chats, NULL));
		}
	}
	if (mailbox_search_deinit(&search_ctx) < 0 && ret == 0) {
		*error_r = t_strdup(
			mailbox_get_last_internal_error(inbox, NULL));
		ret = -1;
	}

	/* The copies are safe on disk before anything is expunged. */
	if (ret < 0) {
		mailbox_transaction_rollback(&dest_trans);
	} else if (mailbox_transaction_commit(&dest_trans) < 0) {
		*error_r = t_strdup(
			mailbox_get_last_internal_error(chats, NULL));
		ret = -1;
	}
	if (ret < 0) {
		mailbox_transaction_rollback(&src_trans);
	} else if (mailbox_transaction_commit(&src_trans) < 0 ||
		   mailbox_sync(inbox, 0) < 0) {
		*error_r = t_strdup(
			mailbox_get_last_internal_error(inbox, NULL));
		ret = -1;
	}
	return ret;
}

static int
coi_seen_move_locked(struct mailbox *inbox, struct mailbox *chats,
		     const ARRAY_TYPE(seq_range) *uids, const char **error_r)
{
	struct file_lock *lock = NULL;
	int ret;

	if (mailbox_open(inbox) < 0) {
		*error_r = t_strdup(
			mailbox_get_last_internal_error(inbox, NULL));
		return -1;
	}
	/* Nobody else can share an index that is only in memory. */
	if (!mail_index_is_in_memory(inbox->index) &&
	    mailbox_lock_file_create(inbox, COI_SEEN_LOCK_NAME,
				     COI_SEEN_LOCK_SECS, &lock, error_r) <= 0)
		return -1;
	if (mailbox_sync(inbox, 0) < 0) {
		*error_r = t_strdup(
			mailbox_get_last_internal_error(inbox, NULL));
		ret = -1;
	} else {
		ret = coi_seen_move_uids(inbox, chats, uids, error_r);
	}
	file_lock_free(&lock);
	return ret;
}

static int
coi_seen_move(struct mailbox *box, const ARRAY_TYPE(seq_range) *uids,
	      const char **error_r)
{
	struct mailbox *inbox, *chats;
	int ret;

	if (coi_folder_open_chats(box->storage->user, FALSE, &chats,
				  error_r) < 0)
		return -1;
	inbox = mailbox_alloc(box->list, box->vname,
			      box->flags & MAILBOX_FLAG_IGNORE_ACLS);
	ret = coi_seen_move_locked(inbox, chats, uids, error_r);
	mailbox_free(&inbox);
	mailbox_free(&chats);
	return ret;
}

void coi_seen_after_commit(struct coi_seen *seen, struct mailbox *box)
{
	struct coi_config config;
	const char *error;

	if (array_is_empty(&seen->uids) ||
	    coi_config_read(box->storage->user, box, &config) < 0 ||
	    !config.enabled || config.filter != COI_FILTER_SEEN)
		return;
	if (coi_seen_move(box, &seen->uids, &error) < 0) {
		e_error(box->event, "coi: Can't move seen chat mail "
			"to the Chats folder: %s", error);
	}
}
