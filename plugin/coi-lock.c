/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "file-create-locked.h"
#include "file-lock.h"
#include "mail-storage-private.h"
#include "coi-lock.h"

int coi_lock_create(struct mailbox *inbox, const char *name, unsigned int secs,
		    struct file_lock **lock_r, const char **error_r)
{
	const struct mailbox_permissions *perm;
	struct file_create_settings set;
	const char *dir;

	if (!mail_index_is_in_memory(inbox->index)) {
		return mailbox_lock_file_create(inbox, name, secs, lock_r,
						error_r);
	}
	/* lib-storage's function is for mailboxes with an index on disk. */
	if (mailbox_get_path_to(inbox, MAILBOX_LIST_PATH_TYPE_CONTROL, &dir) <=
	    0) {
		*error_r = "The mailbox has no place for a lock file";
		return -1;
	}
	perm = mailbox_get_permissions(inbox);
	i_zero(&set);
	set.lock_timeout_secs = secs;
	set.lock_settings.lock_method = inbox->storage->set->parsed_lock_method;
	set.mode = (int)perm->file_create_mode;
	set.gid = perm->file_create_gid;
	set.gid_origin = perm->file_create_gid_origin;
	return mail_storage_lock_create(t_strconcat(dir, "/", name, NULL), &set,
					inbox->storage->set, lock_r, error_r);
}
