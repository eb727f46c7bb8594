/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/*
 * Several sessions may set \Seen on the same mails at once, and each would
 * copy them before it sees that another one has expunged them. So a move is
 * done by one session at a time, under a lock file (coi-lock.h), and
 * with a mailbox object of its own that is synced once the lock is held: what
 * another one has moved is gone by then. The session's own view of INBOX isn't
 * touched; it learns of the expunges when the client allows it to. Who deletes or
 * renames the Chats folder holds the lock, too (coi-rules.c).
 *
 * The copies are committed before the originals are expunged. A journal, written before
 * either, says which mails it is about, so that a move that was killed is finished by the
 * next one: an original whose copy is in the Chats folder (same GUID) is only expunged,
 * any other one is moved. The journal has their UIDs, which are never used again; GUIDs,
 * that may be in the mails' files, are read only then. What couldn't be moved is put into
 * the journal, too, and moved with the next one.
 * So is, in a file of its own, what a process that was killed had only just made \Seen,
 * what could not wait for the lock, and what was read while the user's metadata couldn't
 * be.
 *
 * Clients fetch a mail in pieces, and the first FETCH without PEEK sets \Seen. So what the
 * FETCH of a piece has set waits until the session does something else, or nothing for some
 * time (coi_seen_move_later()). It is in that file meanwhile.
 */

#include "lib.h"
#include "array.h"
#include "file-lock.h"
#include "hash.h"
#include "ioloop.h"
#include "mail-index-transaction-private.h"
#include "mail-storage-private.h"
#include "mail-search-build.h"
#include "coi-compat.h"
#include "coi-folders.h"
#include "coi-imap.h"
#include "coi-keyword.h"
#include "coi-lock.h"
#include "coi-mailbox.h"
#include "coi-mdbox.h"
#include "coi-metadata.h"
#include "coi-seen-journal.h"
#include "coi-user.h"
#include "coi-seen.h"

#define COI_SEEN_LOCK_NAME "dovecot-coi.lock"
/* Beyond it the mail is left to the next move: a client's command waits that
   long. */
#define COI_SEEN_LOCK_SECS 20
/* What a session that falls silent has begun to fetch isn't kept from others for longer. */
#define COI_SEEN_LATER_MSECS (5 * 1000)

/* A mail that a killed move has left in INBOX. */
struct coi_seen_left {
	uint32_t uid;
	char *guid;
	struct coi_mdbox_file file;
	/* Its copies in the Chats folder that share this file. */
	unsigned int sharing;
	/* Its copy is in the Chats folder. */
	bool stored;
};
ARRAY_DEFINE_TYPE(coi_seen_left, struct coi_seen_left);

/* The mails that are being moved, by their UIDs. */
struct coi_seen_moving {
	ARRAY_TYPE(seq_range) uids;
	/* Those whose copies share their files. */
	ARRAY_TYPE(seq_range) sharing;
};

/* A session has fetched pieces, and the late file says of what. */
struct coi_seen_later {
	/* INBOX */
	struct mailbox_list *list;
	const char *vname;
	enum mailbox_flags flags;
	/* NULL if there is nothing to move. */
	struct timeout *to;
};

/* A mail may get $Chat in the transaction in which it gets \Seen. */
static bool coi_seen_gets_chat(const struct mail_index_transaction *itrans,
			       unsigned int idx, uint32_t seq)
{
	const struct mail_index_transaction_keyword_update *update;

	if (!array_is_created(&itrans->keyword_updates) ||
	    idx >= array_count(&itrans->keyword_updates))
		return FALSE;
	update = array_idx(&itrans->keyword_updates, idx);
	return array_is_created(&update->add_seq) &&
		seq_range_exists(&update->add_seq, seq);
}

/* The view doesn't have the transaction's changes, among them a replacement that drops
   $Chat. */
static void
coi_seen_add_chat(struct coi_seen *seen, struct mailbox_transaction_context *t,
		  unsigned int idx, uint32_t seq,
		  ARRAY_TYPE(keyword_indexes) *keywords)
{
	struct mail_index_view *view = t->box->view;
	uint32_t uid;

	mail_index_lookup_keywords(view, seq, keywords);
	if (!coi_keyword_in_indexes(keywords, idx) &&
	    !coi_seen_gets_chat(t->itrans, idx, seq))
		return;
	mail_index_lookup_uid(view, seq, &uid);
	if (!array_is_created(&seen->uids))
		i_array_init(&seen->uids, 4);
	seq_range_array_add(&seen->uids, uid);
}

/* Done for each mail of a STORE, so no more than this. */
static void
coi_seen_add_chats(struct coi_seen *seen, struct mailbox_transaction_context *t,
		   const struct mail_index_transaction *itrans,
		   unsigned int idx)
{
	const struct mail_index_flag_update *update;
	ARRAY_TYPE(keyword_indexes) keywords;
	uint32_t seq, box_seq, uid;

	t_array_init(&keywords, 16);
	array_foreach(&itrans->updates, update) {
		if ((update->add_flags & MAIL_SEEN) == 0)
			continue;
		/* these are sequences until the commit */
		for (seq = update->uid1; seq <= update->uid2; seq++) {
			box_seq = seq;
			if (itrans == t->itrans_pvt) {
				mail_index_lookup_uid(itrans->view, seq, &uid);
				if (!mail_index_lookup_seq(t->box->view, uid,
							   &box_seq))
					continue;
			}
			coi_seen_add_chat(seen, t, idx, box_seq, &keywords);
		}
	}
}

/* Returns 1 if what is read is to be moved, 0 if not, -1 if that can't be told. */
static int coi_seen_is_on(struct mailbox *inbox)
{
	struct mail_user *user = inbox->storage->user;
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	struct coi_config config;
	int ret;

	if (!coi_user_is_offered(user))
		return 0;
	cuser->waiting = TRUE;
	ret = coi_config_read(user, inbox, &config);
	cuser->waiting = FALSE;
	if (ret < 0)
		return -1;
	return config.enabled && config.filter == COI_FILTER_SEEN ? 1 : 0;
}

/* As they are now, which the session may not know. */
static void
coi_seen_find_unseen(struct mailbox *box, const ARRAY_TYPE(seq_range) *uids,
		     ARRAY_TYPE(seq_range) *unseen)
{
	bool is_private = box->view_pvt != NULL &&
		(mailbox_get_private_flags_mask(box) & MAIL_SEEN) != 0;
	struct mail_index *index = is_private ? box->index_pvt : box->index;
	struct mail_index_view *view;
	struct seq_range_iter iter;
	unsigned int n = 0;
	uint32_t uid, seq;

	(void)mail_index_refresh(index);
	view = mail_index_view_open(index);
	seq_range_array_iter_init(&iter, uids);
	while (seq_range_array_iter_nth(&iter, n++, &uid)) {
		if (!mail_index_lookup_seq(view, uid, &seq) ||
		    (mail_index_lookup(view, seq)->flags & MAIL_SEEN) == 0)
			seq_range_array_add(unseen, uid);
	}
	mail_index_view_close(&view);
}

/* Known before the mails are \Seen, so that the next move takes them along if this process
   is killed before it moves them. A mail that is \Seen already could be moved at once,
   before it gets what else the transaction has for it. */
static void coi_seen_announce(struct coi_seen *seen, struct mailbox *box)
{
	ARRAY_TYPE(seq_range) unseen;
	const char *error;

	/* dsync copies what another server has decided. Where INBOX can only be read, the
	   index may have \Seen nevertheless. */
	if (box->storage->user->dsyncing || mailbox_is_readonly(box))
		return;
	seen->on = coi_seen_is_on(box);
	if (seen->on == 0)
		return;
	t_array_init(&unseen, 16);
	coi_seen_find_unseen(box, &seen->uids, &unseen);
	if (!array_is_empty(&unseen))
		(void)coi_seen_journal_add_late(box, &unseen, &error);
}

void coi_seen_before_commit(struct coi_seen *seen,
			    struct mailbox_transaction_context *t)
{
	struct coi_user *cuser = COI_USER_CONTEXT(t->box->storage->user);
	/* \Seen may be one's own in a mailbox that is shared (INDEXPVT) */
	const struct mail_index_transaction *const all[] = { t->itrans,
							     t->itrans_pvt };
	unsigned int idx;

	i_zero(seen);
	/* What is only just being saved has no updates. */
	if (cuser->delivering || !t->box->inbox_user)
		return;
	for (unsigned int i = 0; i < N_ELEMENTS(all); i++) {
		if (all[i] != NULL && array_is_created(&all[i]->updates) &&
		    coi_keyword_lookup(t->box, &idx))
			coi_seen_add_chats(seen, t, all[i], idx);
	}
	if (!array_is_created(&seen->uids))
		return;
	/* The transaction is gone after the commit, but not what it fills in. */
	seen->conflict_seqs = t->itrans->conflict_seqs;
	/* our caller may yet ask for an error from before */
	mail_storage_last_error_push(t->box->storage);
	coi_seen_announce(seen, t->box);
	mail_storage_last_error_pop(t->box->storage);
}

/* Drops what the commit has left as it was, as another session had changed it
   (UNCHANGEDSINCE). The mailbox's view is still that of the transaction. */
static void coi_seen_drop_conflicts(struct coi_seen *seen, struct mailbox *box)
{
	ARRAY_TYPE(seq_range) uids;

	if (seen->conflict_seqs == NULL ||
	    !array_is_created(seen->conflict_seqs))
		return;
	t_array_init(&uids, 16);
	mailbox_get_uid_range(box, seen->conflict_seqs, &uids);
	(void)seq_range_array_remove_seq_range(&seen->uids, &uids);
}

static struct mail_search_context *
coi_seen_search_uids(struct mailbox_transaction_context *t,
		     const ARRAY_TYPE(seq_range) *uids,
		     enum mail_fetch_field wanted_fields)
{
	struct mail_search_args *search_args = mail_search_build_init();
	struct mail_search_context *search_ctx;
	struct mail_search_arg *arg;

	arg = mail_search_build_add(search_args, SEARCH_UIDSET);
	p_array_init(&arg->value.seqset, search_args->pool, array_count(uids));
	array_append_array(&arg->value.seqset, uids);
	search_ctx = mailbox_search_init(t, search_args, NULL, wanted_fields,
					 NULL);
	mail_search_args_unref(&search_args);
	return search_ctx;
}

/* NULL where it isn't allowed, by an ACL, the quota or the size that a mail may have:
   nothing is wrong then, and it would be told with each mail that is read. */
static const char *coi_seen_filter_error(struct event *event,
					 enum mail_error code, const char *text)
{
	static bool logged = FALSE;

	if (code != MAIL_ERROR_PERM && code != MAIL_ERROR_NOQUOTA &&
	    !coi_compat_error_is_size(code))
		return t_strdup(text);
	if (!logged) {
		e_info(event,
		       "coi: Not allowed to move seen chat mail "
		       "to the Chats folder: %s",
		       text);
	}
	logged = TRUE;
	return NULL;
}

static const char *coi_seen_get_error(struct mailbox *box)
{
	enum mail_error code;
	const char *text = mailbox_get_last_internal_error(box, &code);

	return coi_seen_filter_error(box->event, code, text);
}

/* Returns 1 if the mail is being moved, 0 if there is nothing to move, -1 if it
   can't be moved, as where it has been expunged. */
static int coi_seen_move_mail(struct mailbox_transaction_context *dest_trans,
			      struct mail *mail, struct coi_seen_moving *moving)
{
	struct mail_save_context *save_ctx;

	/* Another session may have taken it back. What is deleted would come
	   back from the client's EXPUNGE, which is of INBOX. */
	if ((mail_get_flags(mail) & (MAIL_SEEN | MAIL_DELETED)) != MAIL_SEEN)
		return 0;

	save_ctx = mailbox_save_alloc(dest_trans);
	mailbox_save_copy_flags(save_ctx, mail);
	coi_keyword_add(save_ctx);
	if (mailbox_move(&save_ctx, mail) < 0)
		return -1;
	seq_range_array_add(&moving->uids, mail->uid);
	if (coi_mdbox_is_shared(dest_trans))
		seq_range_array_add(&moving->sharing, mail->uid);
	return 1;
}

static void coi_seen_get_file(struct mailbox_transaction_context *src_trans,
			      struct mailbox *chats, uint32_t uid,
			      struct coi_mdbox_file *file_r)
{
	struct mail *mail = mail_alloc(src_trans, 0, NULL);

	i_zero(file_r);
	if (mail_set_uid(mail, uid))
		coi_mdbox_get_file(mail, chats, file_r);
	mail_free(&mail);
}

/* Has the copies counted if Dovecot hasn't, which does it for all or none. */
static int
coi_seen_count_copies(struct mailbox_transaction_context *src_trans,
		      struct mailbox *chats,
		      const ARRAY_TYPE(seq_range) *sharing,
		      const struct coi_mdbox_file *first, const char **error_r)
{
	ARRAY_TYPE(uint32_t) map_uids;
	struct coi_mdbox_file file;
	struct seq_range_iter iter;
	unsigned int n = 0;
	uint32_t uid;

	if (first->map_uid == 0)
		return 0;
	t_array_init(&map_uids, 16);
	seq_range_array_iter_init(&iter, sharing);
	while (seq_range_array_iter_nth(&iter, n++, &uid)) {
		coi_seen_get_file(src_trans, chats, uid, &file);
		if (file.references > first->references &&
		    file.map_uid == first->map_uid)
			return 0;
		if (file.map_uid != 0)
			array_push_back(&map_uids, &file.map_uid);
	}
	return coi_mdbox_add_references(src_trans->box, &map_uids, error_r);
}

/* Where one sync of an mbox has both to expunge and to change flags, as after what POP3
   does at QUIT, Dovecot loses the flags unless it writes them at once. (2.4 can't, and
   loses them without us, too.) */
static int coi_seen_sync_inbox(struct mailbox *inbox, const char **error_r)
{
	if (mailbox_sync(inbox, COI_COMPAT_SYNC_WRITES) < 0) {
		*error_r = coi_seen_get_error(inbox);
		return -1;
	}
	return 0;
}

/* The copies are stored before anything is expunged. */
static int
coi_seen_move_commit(struct mailbox_transaction_context **src_trans,
		     struct mailbox_transaction_context **dest_trans,
		     const struct coi_seen_moving *moving, const char **error_r)
{
	struct mailbox *inbox = (*src_trans)->box;
	struct mailbox *chats = (*dest_trans)->box;
	const struct seq_range *range;
	struct coi_mdbox_file first;

	i_zero(&first);
	if (!array_is_empty(&moving->sharing)) {
		range = array_front(&moving->sharing);
		coi_seen_get_file(*src_trans, chats, range->seq1, &first);
	}
	if (mailbox_transaction_commit(dest_trans) < 0) {
		*error_r = coi_seen_get_error(chats);
		mailbox_transaction_rollback(src_trans);
		/* The journal stays: what is thought to be not stored may yet
		   appear, when Dovecot repairs the mailbox. */
		return -1;
	}
	if (coi_seen_count_copies(*src_trans, chats, &moving->sharing, &first,
				  error_r) < 0) {
		mailbox_transaction_rollback(src_trans);
		return -1;
	}
	if (mailbox_transaction_commit(src_trans) < 0) {
		*error_r = coi_seen_get_error(inbox);
		return -1;
	}
	if (coi_seen_sync_inbox(inbox, error_r) < 0)
		return -1;
	coi_seen_journal_remove(inbox);
	return 0;
}

/* One try to move the mails. Where some of them can't be moved, they are added
   to bad_uids, and nothing has been done. Those that another session has expunged
   are removed from uids. */
static int
coi_seen_move_try(struct mailbox *inbox, struct mailbox *chats,
		  ARRAY_TYPE(seq_range) *uids, pool_t pool,
		  ARRAY_TYPE(seq_range) *bad_uids, const char **error_r)
{
	struct mailbox_transaction_context *src_trans, *dest_trans;
	struct mail_search_context *search_ctx;
	struct coi_seen_moving moving;
	ARRAY_TYPE(seq_range) gone;
	struct mail *mail;
	int ret;

	/* before the copies are made, which may take long */
	if (coi_seen_journal_write(inbox, uids, error_r) < 0)
		return -1;
	p_array_init(&moving.uids, pool, 16);
	p_array_init(&moving.sharing, pool, 16);
	p_array_init(&gone, pool, 4);
	src_trans = mailbox_transaction_begin(inbox, 0, __func__);
	dest_trans = mailbox_transaction_begin(
		chats, MAILBOX_TRANSACTION_FLAG_EXTERNAL, __func__);
	search_ctx = coi_seen_search_uids(src_trans, uids, MAIL_FETCH_FLAGS);
	while (mailbox_search_next(search_ctx, &mail)) {
		ret = coi_seen_move_mail(dest_trans, mail, &moving);
		if (ret < 0 && mail->expunged) {
			seq_range_array_add(&gone, mail->uid);
		} else if (ret < 0) {
			*error_r = coi_seen_get_error(chats);
			seq_range_array_add(bad_uids, mail->uid);
			/* others would fail for the same reason */
			if (mailbox_get_last_mail_error(chats) ==
			    MAIL_ERROR_NOQUOTA)
				break;
		}
	}
	ret = array_is_empty(bad_uids) ? 0 : -1;
	if (mailbox_search_deinit(&search_ctx) < 0 && ret == 0) {
		*error_r = coi_seen_get_error(inbox);
		ret = -1;
	}
	(void)seq_range_array_remove_seq_range(uids, &gone);
	if (ret < 0 || array_is_empty(&moving.uids) || !array_is_empty(&gone)) {
		mailbox_transaction_rollback(&dest_trans);
		mailbox_transaction_rollback(&src_trans);
		/* A transaction of a dbox that couldn't store its last mail is
		   committed, and loses all: Dovecot unlinks the files. So the
		   others need another one. */
		if (ret == 0 && !array_is_empty(&gone) &&
		    !array_is_empty(&moving.uids)) {
			return coi_seen_move_try(inbox, chats, uids, pool,
						 bad_uids, error_r);
		}
		if (ret == 0)
			coi_seen_journal_remove(inbox);
		return ret;
	}
	return coi_seen_move_commit(&src_trans, &dest_trans, &moving, error_r);
}

static int coi_seen_move_uids(struct mailbox *inbox, struct mailbox *chats,
			      ARRAY_TYPE(seq_range) *uids, pool_t pool,
			      const char **error_r)
{
	ARRAY_TYPE(seq_range) bad_uids;
	const char *error;

	p_array_init(&bad_uids, pool, 4);
	if (coi_seen_move_try(inbox, chats, uids, pool, &bad_uids, error_r) ==
	    0)
		return 0;
	/* A mail that can't be read must not keep the others, and isn't tried
	   again. If it is all of them, it isn't the mails. */
	if (mailbox_get_last_mail_error(chats) == MAIL_ERROR_NOQUOTA ||
	    array_is_empty(&bad_uids) ||
	    seq_range_array_remove_seq_range(uids, &bad_uids) == 0)
		return -1;
	if (array_is_empty(uids)) {
		seq_range_array_merge(uids, &bad_uids);
		return -1;
	}
	array_clear(&bad_uids);
	(void)coi_seen_move_try(inbox, chats, uids, pool, &bad_uids, &error);
	return -1;
}

/* Finds the journal's mails that are still in INBOX. A mail without a GUID has
   nothing to recognise its copy by, and stays. */
static int
coi_seen_find_left(struct mailbox *inbox, struct mailbox *chats,
		   const ARRAY_TYPE(seq_range) *journal, pool_t pool,
		   ARRAY_TYPE(coi_seen_left) *left, const char **error_r)
{
	struct mailbox_transaction_context *t;
	struct mail_search_context *search_ctx;
	struct coi_seen_left *mail_left;
	struct mail *mail;
	const char *guid;
	int ret = 0;

	t = mailbox_transaction_begin(inbox, 0, __func__);
	search_ctx = coi_seen_search_uids(t, journal, MAIL_FETCH_GUID);
	while (mailbox_search_next(search_ctx, &mail)) {
		if (mail_get_special(mail, MAIL_FETCH_GUID, &guid) < 0 ||
		    guid[0] == '\0')
			continue;
		mail_left = array_append_space(left);
		mail_left->uid = mail->uid;
		mail_left->guid = p_strdup(pool, guid);
		coi_mdbox_get_file(mail, chats, &mail_left->file);
	}
	if (mailbox_search_deinit(&search_ctx) < 0) {
		*error_r = coi_seen_get_error(inbox);
		ret = -1;
	}
	(void)mailbox_transaction_commit(&t);
	return ret;
}

/* Finds out which of them have their copy in the mailbox. */
static int
coi_seen_find_copies(struct mailbox *chats, ARRAY_TYPE(coi_seen_left) *left,
		     const char **error_r)
{
	HASH_TABLE(char *, struct coi_seen_left *) guids;
	struct coi_seen_left *mail_left;
	const struct coi_seen_left *first;
	struct mailbox_transaction_context *t;
	struct mail_search_args *search_args;
	struct mail_search_context *search_ctx;
	struct coi_mdbox_file file;
	struct mail *mail;
	const char *guid;
	int ret = 0;

	hash_table_create(&guids, default_pool, array_count(left), str_hash,
			  strcmp);
	array_foreach_modifiable(left, mail_left)
		hash_table_update(guids, mail_left->guid, mail_left);

	search_args = mail_search_build_init();
	mail_search_build_add_all(search_args);
	t = mailbox_transaction_begin(chats, 0, __func__);
	search_ctx = mailbox_search_init(t, search_args, NULL, MAIL_FETCH_GUID,
					 NULL);
	mail_search_args_unref(&search_args);
	while (mailbox_search_next(search_ctx, &mail)) {
		if (mail_get_special(mail, MAIL_FETCH_GUID, &guid) < 0)
			continue;
		mail_left = hash_table_lookup(guids, guid);
		if (mail_left == NULL)
			continue;
		mail_left->stored = TRUE;
		coi_mdbox_get_file(mail, chats, &file);
		if (file.map_uid != 0 &&
		    file.map_uid == mail_left->file.map_uid)
			mail_left->sharing++;
	}
	if (mailbox_search_deinit(&search_ctx) < 0) {
		*error_r = coi_seen_get_error(chats);
		ret = -1;
	}
	(void)mailbox_transaction_commit(&t);

	/* several mails may share a GUID */
	array_foreach_modifiable(left, mail_left) {
		first = hash_table_lookup(guids, mail_left->guid);
		mail_left->stored = first->stored;
		if (mail_left->file.map_uid == first->file.map_uid)
			mail_left->sharing = first->sharing;
	}
	hash_table_destroy(&guids);
	return ret;
}

/* Has those counted that a killed move couldn't: the mail itself is one more than
   its copies. */
static int
coi_seen_count_left(struct mailbox *inbox,
		    const ARRAY_TYPE(coi_seen_left) *left, const char **error_r)
{
	const struct coi_seen_left *mail_left;
	ARRAY_TYPE(uint32_t) map_uids;

	t_array_init(&map_uids, 16);
	array_foreach(left, mail_left) {
		if (mail_left->sharing > 0 &&
		    mail_left->file.references <= mail_left->sharing)
			array_push_back(&map_uids, &mail_left->file.map_uid);
	}
	return array_is_empty(&map_uids) ?
		0 :
		coi_mdbox_add_references(inbox, &map_uids, error_r);
}

/* Expunges what a killed move has stored already, and adds the rest of what it
   was to move to uids, as far as that is still a chat mail. */
static int
coi_seen_recover_mails(struct mailbox *inbox,
		       const ARRAY_TYPE(coi_seen_left) *left,
		       const ARRAY_TYPE(seq_range) *late,
		       ARRAY_TYPE(seq_range) *uids, const char **error_r)
{
	const struct coi_seen_left *mail_left;
	struct mailbox_transaction_context *t;
	struct seq_range_iter iter;
	unsigned int idx = 0, n = 0;
	uint32_t uid;
	struct mail *mail;
	bool have_chats;

	have_chats = coi_keyword_lookup(inbox, &idx);
	t = mailbox_transaction_begin(inbox, 0, __func__);
	mail = mail_alloc(t, 0, NULL);
	array_foreach(left, mail_left) {
		if (!mail_set_uid(mail, mail_left->uid))
			continue;
		if (mail_left->stored)
			mail_expunge(mail);
		else if (have_chats && coi_keyword_in_mail(mail, idx))
			seq_range_array_add(uids, mail_left->uid);
	}
	/* A client may have copied one of these to Chats, where it has the same GUID. */
	seq_range_array_iter_init(&iter, late);
	while (have_chats && seq_range_array_iter_nth(&iter, n++, &uid)) {
		if (mail_set_uid(mail, uid) && coi_keyword_in_mail(mail, idx))
			seq_range_array_add(uids, uid);
	}
	mail_free(&mail);
	if (mailbox_transaction_commit(&t) < 0) {
		*error_r = coi_seen_get_error(inbox);
		return -1;
	}
	return array_is_empty(left) ? 0 : coi_seen_sync_inbox(inbox, error_r);
}

static int
coi_seen_recover(struct mailbox *inbox, struct mailbox *chats,
		 ARRAY_TYPE(seq_range) *uids, pool_t pool, const char **error_r)
{
	ARRAY_TYPE(seq_range) journal, late;
	ARRAY_TYPE(coi_seen_left) left;
	int ret;

	p_array_init(&journal, pool, 4);
	p_array_init(&late, pool, 4);
	ret = coi_seen_journal_read(inbox, &journal, &late, error_r);
	if (ret <= 0)
		return ret;
	/* of these it is known */
	(void)seq_range_array_remove_seq_range(&late, uids);
	p_array_init(&left, pool, 16);
	if (!array_is_empty(&journal) &&
	    coi_seen_find_left(inbox, chats, &journal, pool, &left, error_r) <
		    0)
		return -1;
	if (!array_is_empty(&left) &&
	    (coi_seen_find_copies(chats, &left, error_r) < 0 ||
	     coi_seen_count_left(inbox, &left, error_r) < 0))
		return -1;
	if (coi_seen_recover_mails(inbox, &left, &late, uids, error_r) < 0)
		return -1;
	/* otherwise the move writes it anew */
	if (array_is_empty(uids))
		coi_seen_journal_remove(inbox);
	return 0;
}

static int coi_seen_sync(struct mailbox *inbox, struct mailbox *chats,
			 const char **error_r)
{
	if (coi_seen_sync_inbox(inbox, error_r) < 0)
		return -1;
	if (mailbox_sync(chats, 0) < 0) {
		*error_r = coi_seen_get_error(chats);
		return -1;
	}
	return 0;
}

/* Gives $Chat back to those of the mails that a replacement of their flags has taken
   it from: they are chats yet to be moved, and by it they are known. */
static void
coi_seen_mark(struct mailbox *inbox, const ARRAY_TYPE(seq_range) *uids)
{
	static const char *const names[] = { COI_KEYWORD, NULL };
	struct mailbox_transaction_context *t;
	struct mail_search_context *search_ctx;
	struct mail_keywords *keywords;
	struct mail *mail;
	unsigned int idx;

	if (!coi_keyword_lookup(inbox, &idx))
		return;
	keywords = mailbox_keywords_create_valid(inbox, names);
	t = mailbox_transaction_begin(inbox, 0, __func__);
	search_ctx = coi_seen_search_uids(t, uids, MAIL_FETCH_FLAGS);
	while (mailbox_search_next(search_ctx, &mail)) {
		if (!coi_keyword_in_mail(mail, idx))
			mail_update_keywords(mail, MODIFY_ADD, keywords);
	}
	(void)mailbox_search_deinit(&search_ctx);
	mailbox_keywords_unref(&keywords);
	(void)mailbox_transaction_commit(&t);
}

/* Leaves the mails to the next move, together with what the last one has left.
   If that can't be written either, they stay in INBOX. */
static void coi_seen_postpone(struct mailbox *inbox,
			      const ARRAY_TYPE(seq_range) *uids, pool_t pool)
{
	ARRAY_TYPE(seq_range) all, all_late;
	const char *error;

	if (array_is_empty(uids))
		return;
	coi_seen_mark(inbox, uids);
	p_array_init(&all, pool, 16);
	p_array_init(&all_late, pool, 16);
	if (coi_seen_journal_read(inbox, &all, &all_late, &error) >= 0) {
		seq_range_array_merge(&all, &all_late);
		seq_range_array_merge(&all, uids);
		(void)coi_seen_journal_write(inbox, &all, &error);
	}
}

/* Without chats there is nowhere to move them to. */
static int
coi_seen_move_locked(struct mailbox *inbox, struct mailbox *chats,
		     ARRAY_TYPE(seq_range) *uids, const char **error_r)
{
	pool_t pool = pool_alloconly_create("coi seen move", 4096);
	int ret = -1;

	if (chats != NULL && coi_seen_sync(inbox, chats, error_r) == 0) {
		ret = coi_seen_recover(inbox, chats, uids, pool, error_r);
		if (ret == 0 && !array_is_empty(uids)) {
			ret = coi_seen_move_uids(inbox, chats, uids, pool,
						 error_r);
		}
	}
	if (ret < 0)
		coi_seen_postpone(inbox, uids, pool);
	pool_unref(&pool);
	return ret;
}

int coi_seen_lock(struct mailbox *inbox, struct file_lock **lock_r,
		  const char **error_r)
{
	return coi_lock_create(inbox, COI_SEEN_LOCK_NAME, COI_SEEN_LOCK_SECS,
			       lock_r, error_r);
}

/* Leaves the mails to the next move, without the lock. */
static void
coi_seen_leave(struct mailbox *inbox, const ARRAY_TYPE(seq_range) *uids)
{
	const char *error;

	if (array_is_empty(uids))
		return;
	coi_seen_mark(inbox, uids);
	(void)coi_seen_journal_add_late(inbox, uids, &error);
}

static int coi_seen_move_open(struct mailbox *inbox, bool may_move,
			      ARRAY_TYPE(seq_range) *uids, const char **error_r)
{
	struct mail_user *user = inbox->storage->user;
	struct file_lock *lock = NULL;
	struct mailbox *chats;
	enum mail_error code;
	int on, ret = 0;

	if (mailbox_open(inbox) < 0) {
		*error_r = coi_seen_get_error(inbox);
		return -1;
	}
	/* Where that can't be told, it isn't worth waiting for the lock. */
	if (!may_move) {
		coi_seen_leave(inbox, uids);
		return 0;
	}
	if (coi_seen_lock(inbox, &lock, error_r) <= 0) {
		coi_seen_leave(inbox, uids);
		return -1;
	}
	/* Who had the lock may have deleted Chats, and with it disabled COI. */
	on = coi_seen_is_on(inbox);
	if (on < 0) {
		coi_seen_leave(inbox, uids);
	} else if (on > 0) {
		if (coi_folder_open(user, coi_folder_chats(user),
				    COI_FOLDER_SUBSCRIBE_NEW, &chats, &code,
				    error_r) < 0) {
			*error_r = coi_seen_filter_error(inbox->event, code,
							 *error_r);
			chats = NULL;
		}
		ret = coi_seen_move_locked(inbox, chats, uids, error_r);
		if (chats != NULL)
			mailbox_free(&chats);
	}
	file_lock_free(&lock);
	return ret;
}

/* Moves them, and what others have left. Unless it may, it leaves the mails to the next
   one that may. */
static void coi_seen_move(struct mailbox_list *list, const char *vname,
			  enum mailbox_flags flags, bool may_move,
			  ARRAY_TYPE(seq_range) *uids)
{
	struct mailbox *inbox;
	const char *error;

	inbox = mailbox_alloc(list, vname, flags & MAILBOX_FLAG_IGNORE_ACLS);
	if (coi_seen_move_open(inbox, may_move, uids, &error) < 0 &&
	    error != NULL) {
		e_error(inbox->event,
			"coi: Can't move seen chat mail "
			"to the Chats folder: %s",
			error);
	}
	mailbox_free(&inbox);
}

static void coi_seen_later_timeout(struct mail_user *user)
{
	/* It may be a FETCH that is still being sent, or hold a lock, as an APPEND does
	   in an mbox. */
	if (!coi_imap_has_command(user))
		coi_seen_move_later(user);
}

/* Returns FALSE if the mails aren't to wait, or can't. */
static bool
coi_seen_put_off(struct mailbox *box, const ARRAY_TYPE(seq_range) *uids)
{
	struct mail_user *user = box->storage->user;
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	struct coi_seen_later *later = cuser->seen_later;
	const char *error;

	if (!coi_imap_is_fetching_a_piece(user))
		return FALSE;
	if (later == NULL) {
		later = p_new(user->pool, struct coi_seen_later, 1);
		later->list = box->list;
		later->vname = p_strdup(user->pool, box->vname);
		later->flags = box->flags;
		cuser->seen_later = later;
	} else if (later->list != box->list ||
		   strcmp(later->vname, box->vname) != 0) {
		return FALSE;
	}
	if (coi_seen_journal_add_late(box, uids, &error) <= 0)
		return FALSE;
	if (later->to == NULL) {
		later->to = timeout_add(COI_SEEN_LATER_MSECS,
					coi_seen_later_timeout, user);
	}
	return TRUE;
}

void coi_seen_after_commit(struct coi_seen *seen, struct mailbox *box)
{
	if (seen->on == 0)
		return;
	coi_seen_drop_conflicts(seen, box);
	if (array_is_empty(&seen->uids) ||
	    (seen->on > 0 && coi_seen_put_off(box, &seen->uids)))
		return;
	coi_seen_move(box->list, box->vname, box->flags, seen->on > 0,
		      &seen->uids);
}

void coi_seen_deinit(struct coi_seen *seen)
{
	array_free(&seen->uids);
}

void coi_seen_wait_anew(struct mail_user *user)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);

	if (cuser->seen_later != NULL && cuser->seen_later->to != NULL)
		timeout_reset(cuser->seen_later->to);
}

void coi_seen_move_later(struct mail_user *user)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	struct coi_seen_later *later = cuser->seen_later;
	ARRAY_TYPE(seq_range) uids;

	if (later == NULL || later->to == NULL)
		return;
	timeout_remove(&later->to);
	t_array_init(&uids, 4);
	coi_seen_move(later->list, later->vname, later->flags, TRUE, &uids);
}
