/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "array.h"
#include "buffer.h"
#include "message-address.h"
#include "safe-mkstemp.h"
#include "sha3.h"
#include "str.h"
#include "write-full.h"
#include "mail-storage-private.h"
#include "mail-namespace.h"
#include "mailbox-list-private.h"
#include "coi-core.h"
#include "coi-folders.h"
#include "coi-contacts.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define COI_CONTACTS_INDEX_NAME "dovecot-coi.contacts"
#define COI_ADDRESS_MAX_SIZE 1000

ARRAY_DEFINE_TYPE(coi_contact, struct coi_contact);

struct coi_contacts {
	const struct coi_core *core;
	struct mailbox *box;
	/* NULL where indexes are in memory */
	const char *path;

	/* the folder as it is now */
	struct coi_contacts_state state;
	/* the index; data is NULL if there is none, or a bad one */
	struct coi_bytes index;
	struct coi_contacts_state index_state;
	size_t index_count;

	void *mmap_base;
	size_t mmap_size;
};

static const char *const contact_headers[] = {
	"Chat-Content", "COI-From-Hash", "COI-Blocked", "Date", NULL
};

static struct mailbox *coi_contacts_alloc(struct mail_user *user)
{
	struct mail_namespace *ns = mail_namespace_find_inbox(user->namespaces);

	/* The server looks at them, whatever the user may do. */
	return mailbox_alloc(ns->list, coi_folder_contacts(user),
			     MAILBOX_FLAG_IGNORE_ACLS);
}

bool coi_contacts_exist(struct mail_user *user)
{
	struct mailbox *box = coi_contacts_alloc(user);
	enum mailbox_existence existence;
	bool ret;

	ret = mailbox_exists(box, FALSE, &existence) == 0 &&
		existence == MAILBOX_EXISTENCE_SELECT;
	mailbox_free(&box);
	return ret;
}

/* libdovecot's SHA-3 and not OpenSSL's: it is in the process already, and a
   delivering process may live for one mail only. */
static bool
coi_contacts_hash_sender(const struct coi_core *core, struct mail *mail,
			 unsigned char hash_r[COI_CONTACT_HASH_SIZE])
{
	const struct message_address *addr;
	const char *from;
	char normalized[COI_ADDRESS_MAX_SIZE];
	struct coi_bytes local_part, domain;
	size_t size;

	if (mail_get_first_header(mail, "From", &from) <= 0)
		return FALSE;
	addr = message_address_parse(pool_datastack_create(),
				     (const unsigned char *)from, strlen(from),
				     1, 0);
	if (addr == NULL || addr->mailbox == NULL || addr->domain == NULL)
		return FALSE;
	local_part.data = addr->mailbox;
	local_part.size = strlen(addr->mailbox);
	domain.data = addr->domain;
	domain.size = strlen(addr->domain);
	size = core->address_normalize(local_part, domain, normalized,
				       sizeof(normalized));
	if (size == 0)
		return FALSE;
	sha3_256_get_digest(normalized, size, hash_r);
	return TRUE;
}

static int
coi_contacts_open(struct coi_contacts *contacts, const char **error_r)
{
	struct mailbox_status status;
	const char *dir;

	if (mailbox_open(contacts->box) < 0 ||
	    mailbox_sync(contacts->box, MAILBOX_SYNC_FLAG_FAST) < 0) {
		*error_r = t_strdup(mailbox_get_last_internal_error(
						contacts->box, NULL));
		return -1;
	}
	mailbox_get_open_status(contacts->box, STATUS_UIDVALIDITY |
				STATUS_UIDNEXT | STATUS_MESSAGES, &status);
	contacts->state.uidvalidity = status.uidvalidity;
	contacts->state.uidnext = status.uidnext;
	contacts->state.messages = status.messages;
	if (mailbox_get_path_to(contacts->box, MAILBOX_LIST_PATH_TYPE_INDEX,
				&dir) > 0) {
		contacts->path = t_strconcat(dir, "/"COI_CONTACTS_INDEX_NAME,
					     NULL);
	}
	return 0;
}

static void coi_contacts_use_index(struct coi_contacts *contacts,
				   const void *data, size_t size)
{
	struct coi_bytes index = { data, size };

	if (contacts->core->contacts_index_read(index, &contacts->index_state,
						&contacts->index_count))
		contacts->index = index;
}

/* An index that can't be read is one that isn't there. */
static void coi_contacts_map_index(struct coi_contacts *contacts)
{
	struct stat st;
	void *base;
	int fd;

	if (contacts->path == NULL)
		return;
	fd = open(contacts->path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
		base = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (base != MAP_FAILED) {
			contacts->mmap_base = base;
			contacts->mmap_size = st.st_size;
			coi_contacts_use_index(contacts, base, st.st_size);
		}
	}
	i_close_fd(&fd);
}

static bool coi_contacts_index_is_current(const struct coi_contacts *contacts)
{
	return contacts->index.data != NULL &&
		memcmp(&contacts->index_state, &contacts->state,
		       sizeof(contacts->state)) == 0;
}

/* Adds the contacts of the old index whose mails are still there. Returns the
   first UID that the old index doesn't know. */
static uint32_t
coi_contacts_keep_old(const struct coi_contacts *contacts,
		      ARRAY_TYPE(coi_contact) *dest)
{
	struct coi_contact contact;
	uint32_t seq1, seq2;

	if (contacts->index.data == NULL ||
	    contacts->index_state.uidvalidity != contacts->state.uidvalidity ||
	    contacts->index_state.uidnext > contacts->state.uidnext)
		return 1;
	for (size_t i = 0; i < contacts->index_count; i++) {
		contacts->core->contacts_index_get(contacts->index, i, &contact);
		mailbox_get_seq_range(contacts->box, contact.uid, contact.uid,
				      &seq1, &seq2);
		if (seq1 != 0)
			array_push_back(dest, &contact);
	}
	return contacts->index_state.uidnext;
}

/* A mail that can't be read is no contact: it must not stop the others. */
static void
coi_contacts_add_mail(const struct coi_contacts *contacts, struct mail *mail,
		      ARRAY_TYPE(coi_contact) *dest)
{
	struct coi_contact contact;
	struct coi_bytes bytes;
	const char *const *hashes, *value;
	time_t date;
	int tz;

	if (mail_get_first_header(mail, "Chat-Content", &value) <= 0 ||
	    strcasecmp(t_str_trim(value, " \t\r\n"), "contact") != 0 ||
	    mail_get_headers(mail, "COI-From-Hash", &hashes) <= 0)
		return;

	i_zero(&contact);
	contact.uid = mail->uid;
	contact.blocked = mail_get_first_header(mail, "COI-Blocked",
						&value) > 0;
	if (mail_get_date(mail, &date, &tz) == 0 && date > 0)
		contact.date = date;
	for (; *hashes != NULL; hashes++) {
		bytes.data = *hashes;
		bytes.size = strlen(*hashes);
		if (contacts->core->contact_hash_parse(bytes, contact.hash))
			array_push_back(dest, &contact);
	}
}

static void
coi_contacts_add_new(const struct coi_contacts *contacts, uint32_t first_uid,
		     ARRAY_TYPE(coi_contact) *dest)
{
	struct mailbox_header_lookup_ctx *headers;
	struct mailbox_transaction_context *t;
	uint32_t seq1, seq2;
	struct mail *mail;

	mailbox_get_seq_range(contacts->box, first_uid, (uint32_t)-1,
			      &seq1, &seq2);
	if (seq1 == 0)
		return;
	t = mailbox_transaction_begin(contacts->box, 0, __func__);
	headers = mailbox_header_lookup_init(contacts->box, contact_headers);
	mail = mail_alloc(t, MAIL_FETCH_DATE, headers);
	mailbox_header_lookup_unref(&headers);
	for (uint32_t seq = seq1; seq <= seq2; seq++) T_BEGIN {
		mail_set_seq(mail, seq);
		coi_contacts_add_mail(contacts, mail, dest);
	} T_END;
	mail_free(&mail);
	(void)mailbox_transaction_commit(&t);
}

/* Whole or not at all; of two processes, the last one stays. If it can't be
   written, the next delivery makes it again. */
static void
coi_contacts_write_index(const struct coi_contacts *contacts,
			 const buffer_t *index)
{
	string_t *tmp_path;
	int fd;

	if (contacts->path == NULL)
		return;
	tmp_path = t_str_new(256);
	str_append(tmp_path, contacts->path);
	str_append_c(tmp_path, '.');
	fd = safe_mkstemp_hostpid(tmp_path, 0600, (uid_t)-1, (gid_t)-1);
	if (fd == -1) {
		e_warning(contacts->box->event,
			  "coi: safe_mkstemp(%s) failed: %m", str_c(tmp_path));
		return;
	}
	if (write_full(fd, index->data, index->used) < 0 ||
	    rename(str_c(tmp_path), contacts->path) < 0) {
		e_warning(contacts->box->event,
			  "coi: Can't write %s: %m", contacts->path);
		i_unlink_if_exists(str_c(tmp_path));
	}
	i_close_fd(&fd);
}

static int
coi_contacts_update(struct coi_contacts *contacts, buffer_t *index,
		    const char **error_r)
{
	ARRAY_TYPE(coi_contact) list;
	uint32_t first_uid;
	size_t size;

	i_array_init(&list, 64);
	first_uid = coi_contacts_keep_old(contacts, &list);
	coi_contacts_add_new(contacts, first_uid, &list);

	size = contacts->core->contacts_index_size(array_count(&list));
	if (size == 0) {
		*error_r = "Too many contacts";
		array_free(&list);
		return -1;
	}
	contacts->core->contacts_index_write(&contacts->state,
		array_is_empty(&list) ? NULL : array_front_modifiable(&list),
		array_count(&list), buffer_append_space_unsafe(index, size));
	array_free(&list);

	coi_contacts_write_index(contacts, index);
	coi_contacts_use_index(contacts, index->data, index->used);
	return 0;
}

static int
coi_contacts_lookup(struct coi_contacts *contacts,
		    const unsigned char hash[COI_CONTACT_HASH_SIZE],
		    const char **error_r)
{
	buffer_t *index = NULL;
	int ret = 0;

	if (coi_contacts_open(contacts, error_r) < 0)
		return -1;
	if (contacts->state.messages == 0)
		return 0;
	coi_contacts_map_index(contacts);
	if (!coi_contacts_index_is_current(contacts)) {
		index = buffer_create_dynamic(default_pool, 4096);
		ret = coi_contacts_update(contacts, index, error_r);
	}
	if (ret == 0 &&
	    contacts->core->contacts_index_is_blocked(contacts->index, hash))
		ret = 1;
	buffer_free(&index);
	if (contacts->mmap_base != NULL)
		(void)munmap(contacts->mmap_base, contacts->mmap_size);
	return ret;
}

int coi_contacts_is_blocked(struct mail_user *user, struct mail *mail,
			    const char **error_r)
{
	unsigned char hash[COI_CONTACT_HASH_SIZE];
	struct coi_contacts contacts;
	int ret;

	i_zero(&contacts);
	contacts.core = coi_core_get(user->event);
	if (contacts.core == NULL ||
	    !coi_contacts_hash_sender(contacts.core, mail, hash))
		return 0;
	contacts.box = coi_contacts_alloc(user);
	ret = coi_contacts_lookup(&contacts, hash, error_r);
	mailbox_free(&contacts.box);
	return ret;
}
