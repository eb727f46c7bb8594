/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "file-lock.h"
#include "mail-storage-private.h"
#include "mail-namespace.h"
#include "mailbox-list-private.h"
#include "coi-compat.h"
#include "coi-folders.h"
#include "coi-metadata.h"
#include "coi-seen.h"
#include "coi-subscriptions.h"
#include "coi-user.h"
#include "coi-rules.h"

#define SPECIAL_USE_TRASH "\\Trash"

/* Returns TRUE if the mailbox is one that the rules are about at all. */
static bool coi_rules_apply(struct mailbox *box)
{
	struct mail_user *user = box->storage->user;
	struct coi_user *cuser = COI_USER_CONTEXT(user);

	return cuser != NULL && !cuser->delivering && !user->dsyncing &&
		coi_folder_is_beside_inbox(box) &&
		coi_user_settings(user) != NULL;
}

/* As the storage calls it, which is the same in every alias. */
static const char *coi_rules_chats_name(struct mail_user *user)
{
	struct mail_namespace *ns = coi_user_inbox_namespace(user);

	return mailbox_list_get_storage_name(ns->list, coi_folder_chats(user));
}

static bool coi_rules_is_chats(struct mailbox *box)
{
	return coi_folder_is(box, coi_folder_chats(box->storage->user));
}

/* Returns TRUE if the mailbox is one that the Chats folder is below of. To
   rename INBOX leaves the folders below its name where they are. */
static bool coi_rules_is_above_chats(struct mailbox *box)
{
	const char *chats_name = coi_rules_chats_name(box->storage->user);
	size_t len = strlen(box->name);

	return coi_folder_is_beside_inbox(box) && !box->inbox_user &&
		strncmp(chats_name, box->name, len) == 0 &&
		chats_name[len] == mailbox_list_get_hierarchy_sep(box->list);
}

/* Returns TRUE if the mailbox is, or is above, a Chats folder that is there. */
static bool coi_rules_has_chats(struct mailbox *box)
{
	struct mail_user *user = box->storage->user;
	enum mailbox_existence existence = MAILBOX_EXISTENCE_NONE;
	struct mailbox *chats;

	if (!coi_rules_apply(box) ||
	    (!coi_rules_is_chats(box) && !coi_rules_is_above_chats(box)))
		return FALSE;
	chats = mailbox_alloc(coi_user_inbox_namespace(user)->list,
			      coi_folder_chats(user), MAILBOX_FLAG_IGNORE_ACLS);
	(void)mailbox_exists(chats, FALSE, &existence);
	mailbox_free(&chats);
	/* Of a maildir that was deleted and has others below it, the list index
	   still says that it is there. */
	return existence == MAILBOX_EXISTENCE_SELECT &&
		coi_folder_may_exist(user, coi_folder_chats(user));
}

static bool coi_rules_is_enabled(struct mailbox *box)
{
	struct coi_config config;

	return coi_config_read(box->storage->user, NULL, &config) == 0 &&
		config.enabled;
}

/* By the settings of the folder, or by its name (ENA-7). */
static bool coi_rules_is_trash(struct mailbox_list *list, const char *vname)
{
	struct mailbox *box;
	bool ret;

	if (strcmp(vname, t_strconcat(list->ns->prefix, "Trash", NULL)) == 0)
		return TRUE;
	box = mailbox_alloc(list, vname, 0);
	ret = coi_compat_mailbox_has_special_use(box, SPECIAL_USE_TRASH);
	mailbox_free(&box);
	return ret;
}

static bool coi_rules_is_below_trash(struct mailbox *box)
{
	char sep = mail_namespace_get_sep(box->list->ns);
	const char *vname = box->vname, *p;

	while ((p = strrchr(vname, sep)) != NULL) {
		vname = t_strdup_until(vname, p);
		if (coi_rules_is_trash(box->list, vname))
			return TRUE;
	}
	return FALSE;
}

/* TRUE if but the form of the name changes. */
static bool coi_rules_is_same_name(struct mailbox *src, struct mailbox *dest)
{
	return src->list == dest->list &&
		strcmp(coi_compat_folder_name(src->list, src->vname),
		       dest->vname) == 0;
}

/* The operation itself is done, so a failure is for the admin to know of. */
static void coi_rules_set_enabled(struct mailbox *box, bool enabled)
{
	struct mail_storage *storage = box->storage;
	const char *error;

	mail_storage_last_error_push(storage);
	if (coi_config_set_enabled(storage->user, enabled, &error) < 0) {
		e_error(box->event,
			"coi: Can't %s COI in the user's metadata: "
			"%s",
			enabled ? "enable" : "disable", error);
	}
	mail_storage_last_error_pop(storage);
}

/* While Chats goes away. Dovecot can't store mail in a folder that is renamed
   meanwhile: some of it may be found there and in the next Chats, or the process
   ends. */
struct coi_rules_hold {
	struct mailbox *inbox;
	struct file_lock *lock;
};

/* Without the lock Chats goes away all the same. */
static void
coi_rules_hold_moves(struct mail_user *user, struct coi_rules_hold *hold_r)
{
	const char *error;

	i_zero(hold_r);
	if (!coi_folder_have_inbox(user))
		return;
	hold_r->inbox = coi_user_inbox_alloc(user);
	if (mailbox_open(hold_r->inbox) == 0)
		(void)coi_seen_lock(hold_r->inbox, &hold_r->lock, &error);
}

static void coi_rules_release_moves(struct coi_rules_hold *hold)
{
	if (hold->lock != NULL)
		file_lock_free(&hold->lock);
	if (hold->inbox != NULL)
		mailbox_free(&hold->inbox);
}

int coi_rules_create_box(union mailbox_module_context *ctx, struct mailbox *box,
			 const struct mailbox_update *update, bool directory)
{
	int ret = ctx->super.create_box(box, update, directory);

	/* A folder that the admin has made for everybody says nothing about
	   what the user wants. */
	if (ret < 0 || !coi_rules_apply(box) || !coi_rules_is_chats(box) ||
	    mailbox_is_autocreated(box) ||
	    coi_folder_is_creating(box->storage->user))
		return ret;
	/* Where each folder is one for mail, as in Maildir++, one that was only to
	   have others in it is that, too. */
	if (directory && !coi_rules_has_chats(box))
		return ret;
	coi_rules_set_enabled(box, TRUE);
	return ret;
}

int coi_rules_delete_box(union mailbox_module_context *ctx, struct mailbox *box)
{
	struct coi_rules_hold hold;
	int ret;

	if (!coi_rules_apply(box) || !coi_rules_is_chats(box))
		return ctx->super.delete_box(box);

	coi_rules_hold_moves(box->storage->user, &hold);
	ret = ctx->super.delete_box(box);
	if (ret == 0 && !coi_folder_is_creating(box->storage->user) &&
	    coi_rules_is_enabled(box))
		coi_rules_set_enabled(box, FALSE);
	coi_rules_release_moves(&hold);
	return ret;
}

int coi_rules_rename_box(union mailbox_module_context *ctx, struct mailbox *src,
			 struct mailbox *dest)
{
	bool from_chats, from_above, had_chats, disable = FALSE;
	struct coi_rules_hold hold;
	int ret;

	/* A folder may come from another namespace, and go to one. Or it isn't the
	   user who renames it. */
	if ((!coi_rules_apply(src) && !coi_rules_apply(dest)) ||
	    coi_rules_is_same_name(src, dest))
		return ctx->super.rename_box(src, dest);

	from_chats = coi_rules_is_chats(src);
	from_above = coi_rules_is_above_chats(src);
	if ((from_chats || from_above) && coi_rules_is_enabled(src)) {
		if (from_above || !coi_rules_is_below_trash(dest)) {
			mail_storage_set_error(
				src->storage, MAIL_ERROR_NOTPOSSIBLE,
				"This folder is needed for COI. "
				"Disable COI before renaming it");
			return -1;
		}
		disable = TRUE;
	}
	/* The entries hang on INBOX's GUID, and the new folder would have it. */
	if (src->inbox_user &&
	    (coi_rules_is_enabled(src) ||
	     coi_subscriptions_exist(src->storage->user))) {
		mail_storage_set_error(
			src->storage, MAIL_ERROR_NOTPOSSIBLE,
			"INBOX can't be renamed while COI is enabled or there "
			"are push subscriptions");
		return -1;
	}
	/* The root may have been but the name of where Chats is. */
	had_chats = coi_rules_has_chats(dest);
	i_zero(&hold);
	if (from_chats || from_above)
		coi_rules_hold_moves(src->storage->user, &hold);
	ret = ctx->super.rename_box(src, dest);
	if (ret == 0 && disable)
		coi_rules_set_enabled(src, FALSE);
	else if (ret == 0 && !had_chats && coi_rules_has_chats(dest))
		coi_rules_set_enabled(src, TRUE);
	coi_rules_release_moves(&hold);
	return ret;
}
