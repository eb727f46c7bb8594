/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "array.h"
#include "mail-storage-private.h"
#include "mailbox-list-private.h"
#include "index-storage.h"
#include "maildir-storage.h"
#include "sdbox-storage.h"
#include "coi-deliver.h"
#include "coi-device-token.h"
#include "coi-keyword.h"
#include "coi-list-notify.h"
#include "coi-notify.h"
#include "coi-raise.h"
#include "coi-rules.h"
#include "coi-seen.h"
#include "coi-subscriptions.h"
#include "coi-user.h"
#include "coi-webpush.h"
#include "coi-mailbox.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define COI_MAILBOX_CONTEXT(obj) MODULE_CONTEXT(obj, coi_storage_module)
#define COI_MAIL_CONTEXT(obj) MODULE_CONTEXT(obj, coi_mail_module)

struct coi_mailbox {
	union mailbox_module_context module_ctx;

	struct coi_notify notify;
	/* A delivery has saved a mail with $Chat here. */
	bool saved_chat;
	/* That mail wasn't as it came. */
	bool saved_edited;
	/* Its attributes have been listed: it is made for one command. */
	bool listed;
};

/* Lists the attributes of a mailbox whose attributes are listed by super. */
struct coi_attribute_iter {
	struct mailbox_attribute_iter iter;
	struct mailbox_attribute_iter *super;
	enum mail_attribute_type type_flags;
	char *prefix;
};

static MODULE_CONTEXT_DEFINE_INIT(coi_storage_module,
				  &mail_storage_module_register);
static MODULE_CONTEXT_DEFINE_INIT(coi_mail_module, &mail_module_register);

struct coi_transaction *
coi_transaction_get(struct mailbox_transaction_context *t)
{
	struct coi_transaction *ct = COI_MAILBOX_CONTEXT(t);

	if (ct == NULL) {
		ct = i_new(struct coi_transaction, 1);
		MODULE_CONTEXT_SET(t, coi_storage_module, ct);
	}
	return ct;
}

static void coi_transaction_free(struct coi_transaction *ct)
{
	coi_webpush_free(&ct->webpush);
	i_free(ct);
}

/* What asks others comes first, then what makes folders, then what locks. */
static int coi_mailbox_before_commit(struct mailbox_transaction_context *t,
				     struct coi_transaction *ct)
{
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(t->box);

	if (ct->metadata.refused == NULL &&
	    coi_webpush_register(&ct->webpush, t) < 0)
		return -1;
	if (coi_metadata_before_commit(t, &ct->metadata) < 0)
		return -1;
	return coi_webpush_store(&ct->webpush, t, &cbox->module_ctx.super);
}

static void
coi_mailbox_saved(struct mailbox *box, bool moved,
		  const struct mail_transaction_commit_changes *changes)
{
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(box);
	struct coi_user *cuser = COI_USER_CONTEXT(box->storage->user);

	if (cuser->delivering)
		coi_raise_delivered(box, cbox->saved_chat, cbox->saved_edited,
				    changes);
	else if (!moved)
		coi_raise_appended(box, changes);
}

/* TRUE if the index, as it is now, has the mail. A session that expunges a mail
   notes that there before it unlinks the file. */
static bool coi_mailbox_has_uid(struct mailbox *box, uint32_t uid)
{
	struct mail_index_view *view;
	uint32_t seq;
	bool found;

	if (mail_index_refresh(box->index) < 0)
		return TRUE;
	view = mail_index_view_open(box->index);
	found = mail_index_lookup_seq(view, uid, &seq);
	mail_index_view_close(&view);
	return found;
}

/* TRUE also where that can't be told. */
static bool
coi_mailbox_may_have_file(struct mailbox *box, enum mailbox_list_path_type type,
			  uint32_t uid)
{
	const char *dir, *path;
	struct stat st;
	int ret;

	ret = mailbox_get_path_to(box, type, &dir);
	if (ret <= 0)
		return ret < 0;
	path = t_strdup_printf("%s/u.%u", dir, uid);
	return stat(path, &st) == 0 || errno != ENOENT;
}

/* Where sdbox couldn't store the last mail of a transaction, or can't sync the index
   after the commit, it unlinks what it has stored and calls that a success:
   sdbox_transaction_save_commit_post(). A move would then expunge the only copy. */
static bool
coi_mailbox_has_lost(struct mailbox *box,
		     const struct mail_transaction_commit_changes *changes)
{
	const struct seq_range *first;

	if (strcmp(box->storage->name, SDBOX_STORAGE_NAME) != 0 ||
	    array_is_empty(&changes->saved_uids))
		return FALSE;
	/* all or none */
	first = array_front(&changes->saved_uids);
	/* A copy of a mail in the alternate storage is made there, too. */
	return !coi_mailbox_may_have_file(box, MAILBOX_LIST_PATH_TYPE_MAILBOX,
					  first->seq1) &&
		!coi_mailbox_may_have_file(
			box, MAILBOX_LIST_PATH_TYPE_ALT_MAILBOX, first->seq1) &&
		coi_mailbox_has_uid(box, first->seq1);
}

static int coi_mailbox_commit(struct mailbox_transaction_context *t,
			      struct mail_transaction_commit_changes *changes_r)
{
	struct mailbox *box = t->box;
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(box);

	if (cbox->module_ctx.super.transaction_commit(t, changes_r) < 0)
		return -1;
	if (!coi_mailbox_has_lost(box, changes_r))
		return 0;
	mailbox_set_critical(box,
			     "coi: Dovecot has lost the new mails "
			     "while it stored them");
	return -1;
}

static void
coi_mailbox_commit_failed(struct mailbox *box,
			  const struct coi_metadata_changes *metadata)
{
	mail_storage_last_error_push(box->storage);
	coi_metadata_undo(box->storage->user, metadata);
	mail_storage_last_error_pop(box->storage);
}

static void coi_mailbox_committed(struct mailbox *box, struct coi_seen *seen,
				  struct coi_transaction *ct)
{
	/* our caller may yet ask for an error from before */
	mail_storage_last_error_push(box->storage);
	coi_seen_after_commit(seen, box);
	if (ct != NULL)
		coi_webpush_stored(&ct->webpush, box->storage->user);
	mail_storage_last_error_pop(box->storage);
}

static int coi_mailbox_transaction_commit(
	struct mailbox_transaction_context *t,
	struct mail_transaction_commit_changes *changes_r)
{
	struct mailbox *box = t->box;
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(box);
	struct coi_transaction *ct = COI_MAILBOX_CONTEXT(t);
	struct coi_metadata_changes metadata;
	struct coi_seen seen;
	bool moved = FALSE;
	int ret;

	i_zero(&metadata);
	if (ct != NULL && coi_mailbox_before_commit(t, ct) < 0) {
		metadata = ct->metadata;
		coi_transaction_free(ct);
		cbox->module_ctx.super.transaction_rollback(t);
		coi_mailbox_commit_failed(box, &metadata);
		return -1;
	}
	coi_seen_before_commit(&seen, t);
	ret = coi_mailbox_commit(t, changes_r);
	if (ret == 0)
		coi_mailbox_committed(box, &seen, ct);
	coi_seen_deinit(&seen);
	if (ct != NULL) {
		metadata = ct->metadata;
		moved = ct->moving;
		coi_transaction_free(ct);
	}
	if (ret == 0)
		coi_mailbox_saved(box, moved, changes_r);
	else
		coi_mailbox_commit_failed(box, &metadata);
	return ret;
}

static void
coi_mailbox_transaction_rollback(struct mailbox_transaction_context *t)
{
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(t->box);
	struct coi_transaction *ct = COI_MAILBOX_CONTEXT(t);

	if (ct != NULL)
		coi_transaction_free(ct);
	cbox->module_ctx.super.transaction_rollback(t);
}

static int
coi_mailbox_create_box(struct mailbox *box, const struct mailbox_update *update,
		       bool directory)
{
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(box);

	return coi_rules_create_box(&cbox->module_ctx, box, update, directory);
}

static int coi_mailbox_delete_box(struct mailbox *box)
{
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(box);

	return coi_rules_delete_box(&cbox->module_ctx, box);
}

static int coi_mailbox_rename_box(struct mailbox *src, struct mailbox *dest)
{
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(src);

	return coi_rules_rename_box(&cbox->module_ctx, src, dest);
}

static int coi_mailbox_open(struct mailbox *box)
{
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(box);
	int ret = cbox->module_ctx.super.open(box);

	/* By this lib-storage knows that it isn't to be created. The mailbox is freed
	   then, as it is there but for a STATUS. */
	if (ret < 0 && coi_list_notify_is_looking())
		box->deleting = TRUE;
	return ret;
}

static void coi_mailbox_notify_changes(struct mailbox *box)
{
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(box);

	coi_notify_before_change(&cbox->notify, box);
	cbox->module_ctx.super.notify_changes(box);
	coi_notify_changed(&cbox->notify, box);
	if (box->inbox_user && box->notify_callback == NULL)
		coi_list_notify_watches_lost(box->storage->user);
}

static struct mailbox_sync_context *
coi_mailbox_sync_init(struct mailbox *box, enum mailbox_sync_flags flags)
{
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(box);

	if (!coi_list_notify_is_replaced(box))
		return cbox->module_ctx.super.sync_init(box, flags);
	mailbox_set_deleted(box);
	return index_mailbox_sync_init(box, flags, TRUE);
}

static int coi_mailbox_sync_deinit(struct mailbox_sync_context *ctx,
				   struct mailbox_sync_status *status_r)
{
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(ctx->box);

	coi_list_notify_before_refresh(ctx->box->list);
	return cbox->module_ctx.super.sync_deinit(ctx, status_r);
}

static void coi_mailbox_free(struct mailbox *box)
{
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(box);

	coi_notify_deinit(&cbox->notify);
	cbox->module_ctx.super.free(box);
}

/* A maildir gives a mail keywords or a UID under the lock of dovecot-uidlist. Without
   them, Dovecot 2.4 stores it also where that can't be locked. */
static bool coi_mailbox_can_lock_uidlist(struct mailbox *box)
{
	const char *dir;

	return strcmp(box->storage->name, MAILDIR_STORAGE_NAME) != 0 ||
		mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_CONTROL,
				    &dir) <= 0 ||
		faccessat(AT_FDCWD, dir, W_OK, AT_EACCESS) == 0 ||
		(errno != EACCES && errno != EROFS);
}

static int coi_mailbox_copy(struct mail_save_context *ctx, struct mail *mail)
{
	struct mailbox *box = ctx->transaction->box;
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(box);
	struct coi_user *cuser = COI_USER_CONTEXT(box->storage->user);

	if (cuser->delivering) {
		if (cuser->delivering_chat && coi_mailbox_can_lock_uidlist(box))
			coi_keyword_add(ctx);
		cbox->saved_chat = coi_raise_is_chat(ctx);
		cbox->saved_edited = coi_raise_is_edited(box, mail);
		/* a maildir may leave that to whoever opens it next */
		if (coi_raise_wants_uid(box, cbox->saved_chat) &&
		    coi_mailbox_can_lock_uidlist(box)) {
			ctx->transaction->flags |=
				MAILBOX_TRANSACTION_FLAG_ASSIGN_UIDS;
		}
	} else if (ctx->moving) {
		coi_transaction_get(ctx->transaction)->moving = TRUE;
	}
	return cbox->module_ctx.super.copy(ctx, mail);
}

/* lib-storage knows nothing of the dict of our own setting until we have told
   it, and what is in there is to be copied, too. */
static void coi_mailbox_before_dsync(struct mailbox *box)
{
	struct mail_user *user = box->storage->user;
	struct dict *dict;
	const char *error;

	/* whatever else of our settings is wrong */
	if (user->dsyncing && COI_USER_CONTEXT(user) != NULL)
		(void)coi_user_get_dict(user, &dict, &error);
}

/* Returns TRUE if dsync asks for an entry of ours where there is no place for any.
   Dovecot would fail, and dsync would leave all mail behind. */
static bool coi_mailbox_dsync_has_none(struct mailbox *box, const char *key)
{
	struct mail_user *user = box->storage->user;

	return user->dsyncing && user->_attr_dict == NULL &&
		(strncmp(key, COI_CONFIG_KEY_PREFIX,
			 strlen(COI_CONFIG_KEY_PREFIX)) == 0 ||
		 strncmp(key, COI_WEBPUSH_KEY_PREFIX,
			 strlen(COI_WEBPUSH_KEY_PREFIX)) == 0);
}

static int
coi_mailbox_attribute_get(struct mailbox *box,
			  enum mail_attribute_type type_flags, const char *key,
			  struct mail_attribute_value *value_r)
{
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(box);

	if (coi_webpush_owns(box, type_flags, key))
		return coi_webpush_get(box, key, cbox->listed, value_r);
	if (coi_device_token_owns(box, type_flags, key))
		return coi_device_token_get(box, key, value_r);
	coi_mailbox_before_dsync(box);
	if (coi_mailbox_dsync_has_none(box, key)) {
		i_zero(value_r);
		return 0;
	}
	return cbox->module_ctx.super.attribute_get(box, type_flags, key,
						    value_r);
}

static int
coi_mailbox_attribute_set(struct mailbox_transaction_context *t,
			  enum mail_attribute_type type_flags, const char *key,
			  const struct mail_attribute_value *value)
{
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(t->box);

	/* lib-storage has asked, but not for INBOX in an alias of its namespace: there
	   it knows no internal attribute of the server's, ours or its own. */
	if (!t->box->inbox_any && coi_metadata_owns(type_flags, key)) {
		if (coi_metadata_set(t, key, value) < 0)
			return -1;
		type_flags &= ENUM_NEGATE(MAIL_ATTRIBUTE_TYPE_FLAG_VALIDATED);
	}
	if (coi_webpush_owns(t->box, type_flags, key))
		return coi_webpush_set(t, key, value);
	if (coi_device_token_owns(t->box, type_flags, key))
		return coi_device_token_set(t, key, value);
	coi_mailbox_before_dsync(t->box);
	if (coi_webpush_is_copied(t->box, type_flags, key))
		return coi_webpush_copy(t, key, value, &cbox->module_ctx.super);
	/* lib-storage would fail here, see coi_metadata_set() */
	if (coi_metadata_is_refused(t, type_flags, key))
		return 0;

	return cbox->module_ctx.super.attribute_set(t, type_flags, key, value);
}

static struct mailbox_attribute_iter *
coi_mailbox_attribute_iter_init(struct mailbox *box,
				enum mail_attribute_type type_flags,
				const char *prefix)
{
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(box);
	struct coi_attribute_iter *iter;

	T_BEGIN {
		coi_webpush_before_list(box, type_flags, prefix);
	}
	T_END;
	coi_mailbox_before_dsync(box);
	cbox->listed = TRUE;
	iter = i_new(struct coi_attribute_iter, 1);
	iter->iter.box = box;
	iter->type_flags = type_flags;
	iter->prefix = i_strdup(prefix);
	iter->super = cbox->module_ctx.super.attribute_iter_init(
		box, type_flags, prefix);
	return &iter->iter;
}

/* Leaves out what is stored of ours: the internal attributes list what there
   is to be seen. */
static const char *
coi_mailbox_attribute_iter_next(struct mailbox_attribute_iter *_iter)
{
	struct coi_attribute_iter *iter = (struct coi_attribute_iter *)_iter;
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(_iter->box);
	const char *key;
	bool ours;

	do {
		key = cbox->module_ctx.super.attribute_iter_next(iter->super);
		if (key == NULL)
			break;
		T_BEGIN {
			ours = coi_webpush_owns(_iter->box, iter->type_flags,
						t_strconcat(iter->prefix, key,
							    NULL));
		}
		T_END;
	} while (ours);
	return key;
}

static int
coi_mailbox_attribute_iter_deinit(struct mailbox_attribute_iter *_iter)
{
	struct coi_attribute_iter *iter = (struct coi_attribute_iter *)_iter;
	struct coi_mailbox *cbox = COI_MAILBOX_CONTEXT(_iter->box);
	int ret;

	ret = cbox->module_ctx.super.attribute_iter_deinit(iter->super);
	i_free(iter->prefix);
	i_free(iter);
	return ret;
}

static void coi_mailbox_hook_attributes(struct mailbox_vfuncs *v)
{
	v->attribute_get = coi_mailbox_attribute_get;
	v->attribute_set = coi_mailbox_attribute_set;
	v->attribute_iter_init = coi_mailbox_attribute_iter_init;
	v->attribute_iter_next = coi_mailbox_attribute_iter_next;
	v->attribute_iter_deinit = coi_mailbox_attribute_iter_deinit;
}

/* TRUE of INBOX in an alias of its namespace, for a command on entries: it may be what
   lib-storage finds first, and takes for the server's. */
static bool coi_mailbox_is_by_alias(const struct mailbox *box)
{
	return box->inbox_user && box->list->ns->alias_for != NULL &&
		(box->flags & MAILBOX_FLAG_ATTRIBUTE_SESSION) != 0;
}

void coi_mailbox_allocated(struct mailbox *box)
{
	struct mailbox_vfuncs *v = box->vlast;
	struct coi_user *cuser = COI_USER_CONTEXT(box->storage->user);
	struct coi_mailbox *cbox;

	if (cuser == NULL)
		return;

	cbox = p_new(box->pool, struct coi_mailbox, 1);
	cbox->module_ctx.super = *v;
	box->vlast = &cbox->module_ctx.super;
	v->copy = coi_mailbox_copy;
	v->transaction_commit = coi_mailbox_transaction_commit;
	v->transaction_rollback = coi_mailbox_transaction_rollback;
	if (!cuser->delivering) {
		v->create_box = coi_mailbox_create_box;
		v->delete_box = coi_mailbox_delete_box;
		v->rename_box = coi_mailbox_rename_box;
		v->open = coi_mailbox_open;
		v->notify_changes = coi_mailbox_notify_changes;
		v->sync_init = coi_mailbox_sync_init;
		v->sync_deinit = coi_mailbox_sync_deinit;
		v->free = coi_mailbox_free;
	}
	if (box->inbox_any || coi_mailbox_is_by_alias(box))
		coi_mailbox_hook_attributes(v);
	MODULE_CONTEXT_SET(box, coi_storage_module, cbox);
}

/* A mail to several recipients is copied from the one that the first of them got, and
   what Sieve of the others sees are the keywords of that one. $Chat isn't theirs (FIL-7,
   FIL-8). */
static bool coi_mail_hides_chat(struct mail *mail, unsigned int *idx_r)
{
	return coi_deliver_hides_chat(mail->box->storage->user) &&
		coi_keyword_lookup(mail->box, idx_r);
}

static const ARRAY_TYPE(keyword_indexes) *
coi_mail_get_keyword_indexes(struct mail *_mail)
{
	struct mail_private *mail = (struct mail_private *)_mail;
	union mail_module_context *cmail = COI_MAIL_CONTEXT(mail);
	const ARRAY_TYPE(keyword_indexes) *all;
	ARRAY_TYPE(keyword_indexes) *others;
	unsigned int idx, elem;

	all = cmail->super.get_keyword_indexes(_mail);
	if (!coi_mail_hides_chat(_mail, &idx) ||
	    !coi_keyword_in_indexes(all, idx))
		return all;
	others = p_new(mail->data_pool, ARRAY_TYPE(keyword_indexes), 1);
	p_array_init(others, mail->data_pool, array_count(all));
	array_foreach_elem(all, elem) {
		if (elem != idx)
			array_push_back(others, &elem);
	}
	return others;
}

static const char *const *coi_mail_get_keywords(struct mail *_mail)
{
	struct mail_private *mail = (struct mail_private *)_mail;
	union mail_module_context *cmail = COI_MAIL_CONTEXT(mail);
	const char *const *names = cmail->super.get_keywords(_mail);
	ARRAY_TYPE(const_string) others;
	unsigned int idx;

	if (!coi_mail_hides_chat(_mail, &idx))
		return names;
	p_array_init(&others, mail->data_pool, str_array_length(names) + 1);
	for (; *names != NULL; names++) {
		if (strcasecmp(*names, COI_KEYWORD) != 0)
			array_push_back(&others, names);
	}
	array_append_zero(&others);
	return array_front(&others);
}

void coi_mail_allocated(struct mail *_mail)
{
	struct mail_private *mail = (struct mail_private *)_mail;
	struct mail_vfuncs *v = mail->vlast;
	struct coi_user *cuser = COI_USER_CONTEXT(_mail->box->storage->user);
	union mail_module_context *cmail;

	if (cuser == NULL || !cuser->delivering_chat)
		return;

	cmail = p_new(mail->pool, union mail_module_context, 1);
	cmail->super = *v;
	mail->vlast = &cmail->super;
	v->get_keywords = coi_mail_get_keywords;
	v->get_keyword_indexes = coi_mail_get_keyword_indexes;
	MODULE_CONTEXT_SET_SELF(mail, coi_mail_module, cmail);
}
