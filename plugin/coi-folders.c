/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "mail-storage-private.h"
#include "mail-namespace.h"
#include "mailbox-list-private.h"
#include "coi-compat.h"
#include "coi-user.h"
#include "coi-folders.h"

#include <sys/stat.h>

static struct mail_namespace *coi_folder_namespace(struct mail_user *user)
{
	return coi_user_inbox_namespace(user);
}

/* As the admin has written it. */
static const char *coi_folder_root_given(struct mail_user *user)
{
	const struct coi_settings *set = coi_user_settings(user);

	i_assert(set != NULL);
	return t_strconcat(coi_folder_namespace(user)->prefix,
			   set->coi_mailbox_root, NULL);
}

const char *coi_folder_root(struct mail_user *user)
{
	return coi_compat_folder_name(coi_folder_namespace(user)->list,
				      coi_folder_root_given(user));
}

static const char *coi_folder_name(struct mail_user *user, const char *name)
{
	char sep = mail_namespace_get_sep(coi_folder_namespace(user));

	return t_strdup_printf("%s%c%s", coi_folder_root(user), sep, name);
}

const char *coi_folder_chats(struct mail_user *user)
{
	return coi_folder_name(user, "Chats");
}

const char *coi_folder_contacts(struct mail_user *user)
{
	return coi_folder_name(user, "Contacts");
}

bool coi_folder_is_creating(struct mail_user *user)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);

	return cuser->creating_folder;
}

const char *coi_folder_blocked(struct mail_user *user)
{
	return t_strconcat(coi_folder_namespace(user)->prefix, "Blocked", NULL);
}

bool coi_folder_is_beside_inbox(struct mailbox *box)
{
	struct mail_namespace *ns = box->list->ns;

	if (ns->alias_for != NULL)
		ns = ns->alias_for;
	return ns == coi_folder_namespace(box->storage->user);
}

bool coi_folder_is(struct mailbox *box, const char *vname)
{
	struct mailbox_list *list =
		coi_folder_namespace(box->storage->user)->list;

	/* As the storage calls it, which is the same in every alias. */
	return coi_folder_is_beside_inbox(box) &&
		strcmp(box->name, mailbox_list_get_storage_name(list, vname)) ==
		0;
}

static bool coi_folder_is_file(const struct mailbox_list *list)
{
	struct mail_storage *storage =
		mail_namespace_get_default_storage(list->ns);

	return (storage->class_flags &
		MAIL_STORAGE_CLASS_FLAG_MAILBOX_IS_FILE) != 0;
}

/* Looks for the folder's files, without a mailbox object and without the list
   index: in a home that is still empty, that would be made first, and INBOX
   would then come out differently. Returns 1 if they are there, 0 if not, -1 if
   that can't be told. */
static int coi_folder_stat(struct mailbox_list *list, const char *vname)
{
	const char *path, *error;
	const char *name = mailbox_list_get_storage_name(list, vname);
	struct stat st;

	/* coi_mailbox_root may be what this layout refuses, and then asking for
	   the path ends the process. */
	if (!mailbox_list_is_valid_name(list, name, &error))
		return 0;
	if (mailbox_list_get_path(list, name, MAILBOX_LIST_PATH_TYPE_MAILBOX,
				  &path) <= 0)
		return -1;
	if (stat(path, &st) == 0) {
		if (!S_ISDIR(st.st_mode)) {
			/* Where a file is in the way, Dovecot knows. */
			return -1;
		}
		/* in an mbox it only has others in it */
		return coi_folder_is_file(list) ? 0 : 1;
	}
	return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
}

/* Returns TRUE if the folder was there by the name that the admin has written, and now is
   by Dovecot's form of it: one that leaves names as they are has made it, and the newer
   one renames it when it is opened by that name. Else there would be two. */
static bool coi_folder_adopt(struct mail_user *user, const char *vname)
{
	struct mailbox_list *list = coi_folder_namespace(user)->list;
	const char *given = coi_folder_root_given(user);
	const char *root = coi_folder_root(user);
	struct mailbox *box;
	int there, ret;

	if (strcmp(given, root) == 0 || strncmp(vname, root, strlen(root)) != 0)
		return FALSE;
	given = t_strconcat(given, vname + strlen(root), NULL);
	if (coi_folder_stat(list, vname) > 0 ||
	    (there = coi_folder_stat(list, given)) == 0)
		return FALSE;
	box = mailbox_alloc(list, given, MAILBOX_FLAG_IGNORE_ACLS);
	coi_compat_mailbox_hide_rename(box);
	/* nor is it the time to make one that the admin has for everybody */
	ret = there < 0 && mailbox_is_autocreated(box) ? -1 : mailbox_open(box);
	mailbox_free(&box);
	return ret == 0;
}

/* An ACL may hide a folder from who is logged in for the user, so that it can neither be
   created nor opened. */
static bool coi_folder_is_hidden(struct mailbox *box, enum mail_error code)
{
	return (code == MAIL_ERROR_PERM || code == MAIL_ERROR_NOTFOUND) &&
		coi_folder_stat(box->list, box->vname) > 0;
}

/* Returns 1 if the folder was created, 0 if it existed, -1 if error. */
static int coi_folder_create(struct mailbox *box)
{
	struct coi_user *cuser = COI_USER_CONTEXT(box->storage->user);
	enum mail_error code;
	int ret;

	if (coi_folder_adopt(box->storage->user, box->vname))
		return 0;
	/* not all that fails says why */
	mail_storage_clear_error(box->storage);
	cuser->creating_folder = TRUE;
	ret = mailbox_create(box, NULL, FALSE);
	cuser->creating_folder = FALSE;
	if (ret == 0)
		return 1;
	code = mailbox_get_last_mail_error(box);
	if (code == MAIL_ERROR_EXISTS)
		return 0;
	/* Of a folder that exists the list index may say what it has found
	   wrong with another one. */
	mail_storage_last_error_push(box->storage);
	ret = mailbox_open(box);
	mail_storage_last_error_pop(box->storage);
	return ret < 0 && coi_folder_is_hidden(box, code) ? 0 : ret;
}

/* Returns FALSE if it was subscribed before, or can't be. */
static bool coi_folder_subscribe(struct mailbox *box)
{
	if (mailbox_list_iter_subscriptions_refresh(box->list) == 0 &&
	    mailbox_is_subscribed(box))
		return FALSE;
	if (mailbox_set_subscribed(box, TRUE) == 0)
		return TRUE;
	/* SHOULD only (ENA-2): the folder works without */
	e_warning(box->event, "coi: Can't subscribe the folder: %s",
		  mailbox_get_last_internal_error(box, NULL));
	return FALSE;
}

bool coi_folder_may_exist(struct mail_user *user, const char *vname)
{
	return coi_folder_stat(coi_folder_namespace(user)->list, vname) != 0;
}

bool coi_folder_have_inbox(struct mail_user *user)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);

	if (cuser->delivering && cuser->have_inbox)
		return TRUE;
	cuser->have_inbox = coi_folder_stat(coi_user_inbox_list(user),
					    "INBOX") != 0;
	return cuser->have_inbox;
}

bool coi_folder_exists(struct mail_user *user, const char *vname)
{
	struct mailbox *box;
	enum mailbox_existence existence;
	int ret;

	ret = coi_folder_stat(coi_folder_namespace(user)->list, vname);
	if (ret <= 0 && coi_folder_adopt(user, vname))
		return TRUE;
	if (ret == 0 || !coi_folder_have_inbox(user))
		return FALSE;
	if (ret > 0)
		return TRUE;
	box = mailbox_alloc(coi_folder_namespace(user)->list, vname,
			    MAILBOX_FLAG_IGNORE_ACLS);
	ret = mailbox_exists(box, FALSE, &existence);
	mailbox_free(&box);
	return ret == 0 && existence == MAILBOX_EXISTENCE_SELECT;
}

int coi_folder_ensure(struct mail_user *user, const char *vname,
		      enum coi_folder_flags flags, enum coi_folder_done *done_r,
		      enum mail_error *code_r, const char **error_r,
		      const char **internal_error_r)
{
	enum coi_folder_done done = 0;
	struct mailbox *box;
	int ret;

	box = mailbox_alloc(coi_folder_namespace(user)->list, vname, 0);
	ret = coi_folder_create(box);
	if (ret > 0)
		done |= COI_FOLDER_CREATED;
	if (ret < 0) {
		*error_r = t_strdup(mailbox_get_last_error(box, code_r));
		*internal_error_r =
			t_strdup(mailbox_get_last_internal_error(box, NULL));
	} else if (((flags & COI_FOLDER_SUBSCRIBE) != 0 ||
		    (ret > 0 && (flags & COI_FOLDER_SUBSCRIBE_NEW) != 0)) &&
		   coi_folder_subscribe(box)) {
		done |= COI_FOLDER_SUBSCRIBED;
	}
	/* Else its index has no UIDVALIDITY. A delivery that looks at Contacts
	   would give it one, and NOTIFY would tell the client. */
	if (ret > 0)
		(void)mailbox_sync(box, 0);
	mailbox_free(&box);
	if (done_r != NULL)
		*done_r = done;
	return ret < 0 ? -1 : 0;
}

void coi_folder_undo(struct mail_user *user, const char *vname,
		     enum coi_folder_done done)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	struct mailbox *box;

	if (done == 0)
		return;
	box = mailbox_alloc(coi_folder_namespace(user)->list, vname, 0);
	if ((done & COI_FOLDER_SUBSCRIBED) != 0)
		(void)mailbox_set_subscribed(box, FALSE);
	if ((done & COI_FOLDER_CREATED) != 0) {
		cuser->creating_folder = TRUE;
		(void)mailbox_delete_empty(box);
		cuser->creating_folder = FALSE;
	}
	mailbox_free(&box);
}

int coi_folder_open(struct mail_user *user, const char *vname,
		    enum coi_folder_flags flags, struct mailbox **box_r,
		    enum mail_error *code_r, const char **error_r)
{
	enum mail_error code;
	struct mailbox *box;
	bool existed = FALSE;
	int ret;

	(void)coi_folder_adopt(user, vname);
	/* as a delivery opens it, of which an ACL asks other rights */
	box = mailbox_alloc(coi_folder_namespace(user)->list, vname,
			    (flags & COI_FOLDER_SAVE_ONLY) != 0 ?
				    MAILBOX_FLAG_SAVEONLY |
					    MAILBOX_FLAG_POST_SESSION :
				    0);
	ret = mailbox_open(box);
	if (ret < 0 &&
	    mailbox_get_last_mail_error(box) == MAIL_ERROR_NOTFOUND) {
		ret = coi_folder_create(box);
		if (ret > 0 && (flags & COI_FOLDER_SUBSCRIBE_NEW) != 0)
			(void)coi_folder_subscribe(box);
		existed = ret == 0;
		if (ret >= 0)
			ret = mailbox_open(box);
	}
	if (ret < 0) {
		*error_r =
			t_strdup(mailbox_get_last_internal_error(box, &code));
		if (existed && code == MAIL_ERROR_NOTFOUND)
			code = MAIL_ERROR_PERM;
		if (code_r != NULL)
			*code_r = code;
		mailbox_free(&box);
		return -1;
	}
	*box_r = box;
	return 0;
}
