/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "array.h"
#include "mail-storage-private.h"
#include "mdbox-map.h"
#include "mdbox-storage.h"
#include "coi-mdbox.h"

static bool
coi_mdbox_is_sharing(const struct mailbox *box, const struct mailbox *copies_in)
{
	return strcmp(box->storage->name, MDBOX_STORAGE_NAME) == 0 &&
		copies_in->storage == box->storage &&
		!copies_in->disable_reflink_copy_to;
}

static struct mdbox_map *coi_mdbox_map(struct mailbox *box)
{
	struct mdbox_storage *storage = MDBOX_STORAGE(box->storage);

	return storage->map;
}

bool coi_mdbox_is_shared(struct mailbox_transaction_context *t)
{
	const struct mdbox_mail_index_record *rec;
	const void *data;
	uint32_t seq;

	if (strcmp(t->box->storage->name, MDBOX_STORAGE_NAME) != 0)
		return FALSE;
	/* A new file gets its UID in the map when it is committed. */
	seq = mail_index_view_get_messages_count(t->view);
	mail_index_lookup_ext(t->view, seq, (MDBOX_MAILBOX(t->box))->ext_id,
			      &data, NULL);
	rec = data;
	return rec != NULL && rec->map_uid != 0;
}

void coi_mdbox_get_file(struct mail *mail, struct mailbox *copies_in,
			struct coi_mdbox_file *file_r)
{
	const char *map_uid, *references;

	i_zero(file_r);
	if (!coi_mdbox_is_sharing(mail->box, copies_in) ||
	    mail_get_special(mail, MAIL_FETCH_REFCOUNT_ID, &map_uid) < 0 ||
	    /* what is counted is looked up in the map as it was read */
	    mdbox_map_refresh(coi_mdbox_map(mail->box)) < 0 ||
	    mail_get_special(mail, MAIL_FETCH_REFCOUNT, &references) < 0 ||
	    str_to_uint(references, &file_r->references) < 0 ||
	    str_to_uint32(map_uid, &file_r->map_uid) < 0)
		i_zero(file_r);
}

int coi_mdbox_add_references(struct mailbox *box,
			     const ARRAY_TYPE(uint32_t) *map_uids,
			     const char **error_r)
{
	struct mdbox_map_atomic_context *atomic;
	struct mdbox_map_transaction_context *t;
	int ret;

	atomic = mdbox_map_atomic_begin(coi_mdbox_map(box));
	t = mdbox_map_transaction_begin(atomic, FALSE);
	ret = mdbox_map_update_refcounts(t, map_uids, 1);
	if (ret == 0)
		ret = mdbox_map_transaction_commit(t, "copies not counted");
	mdbox_map_transaction_free(&t);
	if (mdbox_map_atomic_finish(&atomic) < 0)
		ret = -1;
	if (ret < 0)
		*error_r = mailbox_get_last_internal_error(box, NULL);
	return ret;
}
