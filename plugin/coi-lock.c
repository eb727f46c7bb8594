/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "file-create-locked.h"
#include "file-lock.h"
#include "mail-storage-private.h"
#include "maildir-storage.h"
#include "coi-lock.h"

/* Each machine that has a maildir may keep an index of its own for it, and what others
   do isn't seen there. dovecot-uidlist is one for all of them. */
static bool coi_lock_is_beside_index(struct mailbox *inbox)
{
	const char *dir;

	if (mail_index_is_in_memory(inbox->index))
		return FALSE;
	return strcmp(inbox->storage->name, MAILDIR_STORAGE_NAME) != 0 ||
		mailbox_get_path_to(inbox, MAILBOX_LIST_PATH_TYPE_MAILBOX,
				    &dir) <= 0 ||
		strcmp(inbox->index->dir, dir) == 0;
}

const char *coi_lock_get_dir(struct mailbox *inbox)
{
	const char *dir;

	if (coi_lock_is_beside_index(inbox))
		return inbox->index->dir;
	return mailbox_get_path_to(inbox, MAILBOX_LIST_PATH_TYPE_CONTROL,
				   &dir) > 0 ?
		dir :
		NULL;
}

int coi_lock_create(struct mailbox *inbox, const char *name, unsigned int secs,
		    struct file_lock **lock_r, const char **error_r)
{
	const struct mailbox_permissions *perm;
	struct file_create_settings set;
	const char *dir;

	/* lib-storage's function knows that place only. */
	if (coi_lock_is_beside_index(inbox)) {
		return mailbox_lock_file_create(inbox, name, secs, lock_r,
						error_r);
	}
	dir = coi_lock_get_dir(inbox);
	if (dir == NULL) {
		*error_r = "The mailbox has no place for a lock file";
		return -1;
	}
	perm = mailbox_get_permissions(inbox);
	i_zero(&set);
	set.lock_timeout_secs = mail_storage_get_lock_timeout(inbox->storage,
							      secs);
	set.lock_settings.lock_method = inbox->storage->set->parsed_lock_method;
	set.mode = (int)perm->file_create_mode;
	set.gid = perm->file_create_gid;
	set.gid_origin = perm->file_create_gid_origin;
	return mail_storage_lock_create(t_strconcat(dir, "/", name, NULL), &set,
					inbox->storage->set, lock_r, error_r);
}
