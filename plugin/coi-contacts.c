/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "array.h"
#include "buffer.h"
#include "ioloop.h"
#include "istream.h"
#include "message-address.h"
#include "message-date.h"
#include "message-header-parser.h"
#include "message-size.h"
#include "safe-mkstemp.h"
#include "sha3.h"
#include "str.h"
#include "write-full.h"
#include "mail-cache.h"
#include "mail-index-private.h"
#include "mail-storage-private.h"
#include "mail-namespace.h"
#include "mailbox-list-private.h"
#include "imapc-storage.h"
#include "maildir-storage.h"
#include "coi-core.h"
#include "coi-folders.h"
#include "coi-headers.h"
#include "coi-user.h"
#include "coi-contacts.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define COI_CONTACTS_INDEX_NAME "dovecot-coi.contacts"
/* What is read of an index in the first place: all of it, for some 80 contacts. */
#define COI_CONTACTS_READ_SIZE 4096

/* Whoever writes contacts must not be able to exhaust the memory of a process
   that delivers to others, too. */
#define COI_CONTACTS_MAX 65536
#define COI_CONTACT_MAX_HEADER_SIZE ((uoff_t)64 * 1024)
/* Of all contacts together, for one delivery, which others may wait for. As many as we
   take are less, unless they are made for it. */
#define COI_CONTACTS_MAX_READ_SIZE ((uoff_t)64 * 1024 * 1024)
/* As many as fit into that, each with a name, 64 digits and a line end; for headers
   from Dovecot's cache, too. */
#define COI_CONTACT_MAX_HASHES (COI_CONTACT_MAX_HEADER_SIZE / (14 + 64 + 1))

/* What is looked at of a mail's From headers, which is as much as a header scan is for:
   whoever sends a mail must not keep the process busy by it. */
#define COI_CONTACTS_MAX_FROM_SIZE ((size_t)64 * 1024)
#define COI_CONTACTS_MAX_FROM_ADDRESSES 1000

/* Until a mail that couldn't be read is read again. */
#define COI_CONTACTS_PAUSE_SECS 3600

ARRAY_DEFINE_TYPE(coi_contact, struct coi_contact);

struct coi_contacts {
	const struct coi_core *core;
	struct mail_namespace *ns;
	const char *vname;
	/* NULL until the folder is opened */
	struct mailbox *box;
	/* Our index and Dovecot's log, NULL where indexes are in memory. */
	const char *path, *log_path;

	/* the folder as it is now */
	struct coi_contacts_state state;
	/* the index; its size is 0 if there is none, or a bad one */
	struct coi_contacts_source index;
	struct coi_contacts_state index_state;
	size_t index_count;

	/* The file, or -1. It isn't mapped: of a large one, that takes ten times
	   as long as to read the few records that are asked for. */
	int fd;
	/* What of the index is in memory: the begin of the file, or all of a
	   new one. */
	buffer_t *buffer;

	/* What may yet be read of mails. */
	uoff_t read_left;
	/* that was logged */
	bool told_unreadable;
	/* A mail isn't there that Dovecot's index has. */
	bool lacks_mail;
};

/* What matters of a mail. */
struct coi_contact_headers {
	bool is_contact;
	bool blocked;
	bool have_date;
	/* ends with NULL; in the data stack or of the mail */
	const char *const *hashes;
	time_t date;
	/* What was read for it. */
	uoff_t size;
};

/* No address has it: in an index, a mail that couldn't be read. Its date says when it
   is to be read again. */
static const unsigned char unread_hash[COI_CONTACT_HASH_SIZE];

static void coi_contacts_get_paths(struct coi_contacts *contacts)
{
	struct mailbox_list *list = contacts->ns->list;
	const char *dir;

	if (mailbox_list_get_path(
		    list, mailbox_list_get_storage_name(list, contacts->vname),
		    MAILBOX_LIST_PATH_TYPE_INDEX, &dir) <= 0)
		return;
	contacts->path = t_strconcat(dir, "/" COI_CONTACTS_INDEX_NAME, NULL);
	contacts->log_path = t_strconcat(
		dir, "/" MAIL_INDEX_PREFIX MAIL_TRANSACTION_LOG_SUFFIX, NULL);
}

static const struct mail_storage_settings *
coi_contacts_storage_settings(const struct coi_contacts *contacts)
{
	return mail_namespace_get_default_storage(contacts->ns)->set;
}

static void coi_contacts_forget_log(struct coi_contacts *contacts)
{
	contacts->state.log_inode = 0;
	contacts->state.log_size = 0;
	contacts->state.log_changed = 0;
}

/* Each machine may have an index of its own for a maildir that several have, and what
   others do isn't in it. So it is, too, where the mail is on another server. */
static bool
coi_contacts_index_is_one_of_many(const struct coi_contacts *contacts)
{
	const struct mail_storage *storage =
		mail_namespace_get_default_storage(contacts->ns);

	if (strcmp(storage->name, IMAPC_STORAGE_NAME) == 0)
		return TRUE;
	return storage->set->mail_nfs_storage &&
		!storage->set->mail_nfs_index &&
		strcmp(storage->name, MAILDIR_STORAGE_NAME) == 0;
}

/* Where another machine may write the log, stat() may tell of its changes only
   later. */
static void coi_contacts_stat_log(struct coi_contacts *contacts)
{
	struct stat st;

	if (contacts->log_path == NULL ||
	    coi_contacts_storage_settings(contacts)->mail_nfs_index ||
	    coi_contacts_index_is_one_of_many(contacts) ||
	    stat(contacts->log_path, &st) < 0)
		return;
	contacts->state.log_inode = st.st_ino;
	contacts->state.log_size = st.st_size;
	contacts->state.log_changed = (int64_t)st.st_ctim.tv_sec * 1000000000 +
		st.st_ctim.tv_nsec;
}

/* FALSE where Dovecot has had the folder's index open since before the last
   change: it keeps them open for a while, and opening the mailbox doesn't look
   at the log again. */
static bool coi_contacts_view_is_newest(struct mailbox *box)
{
	const struct mail_index_header *hdr, *newest;
	struct mail_index_view *view;
	bool ret;

	if (mail_index_refresh(box->index) < 0)
		return FALSE;
	view = mail_index_view_open(box->index);
	hdr = mail_index_get_header(box->view);
	newest = mail_index_get_header(view);
	ret = hdr->uid_validity == newest->uid_validity &&
		hdr->next_uid == newest->next_uid &&
		hdr->messages_count == newest->messages_count;
	mail_index_view_close(&view);
	return ret;
}

static void coi_contacts_get_status(struct coi_contacts *contacts)
{
	struct mailbox_status status;

	mailbox_get_open_status(
		contacts->box,
		STATUS_UIDVALIDITY | STATUS_UIDNEXT | STATUS_MESSAGES, &status);
	contacts->state.uidvalidity = status.uidvalidity;
	contacts->state.uidnext = status.uidnext;
	contacts->state.messages = status.messages;
}

/* A new index knows of no mail until the folder is synced. Where it can't be
   written that fails; and if it is damaged, too, Dovecot 2.4 crashes. */
static bool coi_contacts_needs_sync(const struct coi_contacts *contacts)
{
	struct mail_index *index = contacts->box->index;

	return !index->readonly &&
		(contacts->state.uidvalidity == 0 ||
		 contacts->state.uidnext <= 1 ||
		 coi_contacts_index_is_one_of_many(contacts) ||
		 mail_index_is_in_memory(index));
}

/* Returns 1 if opened, 0 if there is no such folder, -1 if error. */
static int
coi_contacts_open(struct coi_contacts *contacts, const char **error_r)
{
	enum mailbox_existence existence;

	/* The server looks at them, whatever the user may do. */
	contacts->box = mailbox_alloc(contacts->ns->list, contacts->vname,
				      MAILBOX_FLAG_IGNORE_ACLS);
	/* Dovecot isn't to make it on that occasion. It isn't synced either:
	   that costs much in a large maildir, and what is put there without
	   telling the index is found when the user next looks at the folder. */
	if (mailbox_exists(contacts->box, FALSE, &existence) < 0 ||
	    (existence == MAILBOX_EXISTENCE_SELECT &&
	     mailbox_open(contacts->box) < 0)) {
		*error_r = t_strdup(
			mailbox_get_last_internal_error(contacts->box, NULL));
		return -1;
	}
	if (existence != MAILBOX_EXISTENCE_SELECT)
		return 0;
	coi_contacts_get_status(contacts);
	if (coi_contacts_needs_sync(contacts)) {
		(void)mailbox_sync(contacts->box, 0);
		coi_contacts_get_status(contacts);
	}
	if (!coi_contacts_view_is_newest(contacts->box))
		coi_contacts_forget_log(contacts);
	return 1;
}

static bool
coi_contacts_read(void *context, size_t offset, void *buf, size_t size)
{
	const struct coi_contacts *contacts = context;
	ssize_t ret;

	if (offset + size <= contacts->buffer->used) {
		memcpy(buf, CONST_PTR_OFFSET(contacts->buffer->data, offset),
		       size);
		return TRUE;
	}
	if (contacts->fd == -1)
		return FALSE;
	ret = pread(contacts->fd, buf, size, (off_t)offset);
	if (ret < 0) {
		e_error(contacts->ns->user->event, "coi: pread(%s) failed: %m",
			contacts->path);
	}
	return ret == (ssize_t)size;
}

static void coi_contacts_use_index(struct coi_contacts *contacts, size_t size)
{
	struct coi_contacts_source index = { coi_contacts_read, contacts,
					     size };

	if (contacts->core->contacts_index_read(&index, &contacts->index_state,
						&contacts->index_count))
		contacts->index = index;
}

/* An index that can't be read is one that isn't there. */
static void coi_contacts_open_index(struct coi_contacts *contacts)
{
	size_t max_size = contacts->core->contacts_index_size(COI_CONTACTS_MAX);
	struct stat st;
	ssize_t ret;

	if (contacts->path == NULL)
		return;
	contacts->fd = open(contacts->path,
			    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (contacts->fd == -1 || fstat(contacts->fd, &st) < 0 ||
	    !S_ISREG(st.st_mode) || st.st_size <= 0 ||
	    (uintmax_t)st.st_size > max_size)
		return;
	ret = pread(contacts->fd,
		    buffer_append_space_unsafe(contacts->buffer,
					       COI_CONTACTS_READ_SIZE),
		    COI_CONTACTS_READ_SIZE, 0);
	buffer_set_used_size(contacts->buffer, I_MAX(ret, 0));
	coi_contacts_use_index(contacts, st.st_size);
}

static bool coi_contacts_log_is_same(const struct coi_contacts *contacts)
{
	const struct coi_contacts_state *now = &contacts->state;
	const struct coi_contacts_state *then = &contacts->index_state;

	return now->log_inode == then->log_inode &&
		now->log_size == then->log_size &&
		now->log_changed == then->log_changed;
}

static bool coi_contact_is_unread(const struct coi_contact *contact)
{
	return memcmp(contact->hash, unread_hash, sizeof(unread_hash)) == 0;
}

/* A pause that is too long is of a clock that was wrong. */
static bool coi_contact_is_due(const struct coi_contact *contact)
{
	return contact->date <= ioloop_time ||
		contact->date > ioloop_time + COI_CONTACTS_PAUSE_SECS;
}

/* Is there a mail that is to be read again? They come first in an index, and of them
   the one whose time comes first. */
static bool coi_contacts_some_are_due(const struct coi_contacts *contacts)
{
	struct coi_contact first;

	return contacts->index_count > 0 &&
		contacts->core->contacts_index_get(&contacts->index, 0,
						   &first) &&
		coi_contact_is_unread(&first) && coi_contact_is_due(&first);
}

/* The folder needn't be opened. */
static bool coi_contacts_index_is_fresh(const struct coi_contacts *contacts)
{
	return contacts->index.size != 0 && contacts->state.log_inode != 0 &&
		coi_contacts_log_is_same(contacts) &&
		!coi_contacts_some_are_due(contacts);
}

/* Needs the opened folder. */
static bool coi_contacts_index_is_current(const struct coi_contacts *contacts)
{
	const struct coi_contacts_state *now = &contacts->state;
	const struct coi_contacts_state *then = &contacts->index_state;

	return contacts->index.size != 0 &&
		now->uidvalidity == then->uidvalidity &&
		now->uidnext == then->uidnext &&
		now->messages == then->messages &&
		coi_contacts_log_is_same(contacts) &&
		!coi_contacts_some_are_due(contacts);
}

/* Adds the contacts of the old index whose mails are still there, and likewise to
   unread those that couldn't be read. Returns the first UID that the old index
   doesn't know. No mail has the UID 0, and Dovecot ends the process that asks for it;
   but a damaged index may have it. */
static uint32_t coi_contacts_keep_old(const struct coi_contacts *contacts,
				      ARRAY_TYPE(coi_contact) *dest,
				      ARRAY_TYPE(coi_contact) *unread)
{
	struct coi_contact contact;
	uint32_t seq1, seq2;

	if (contacts->index.size == 0 ||
	    contacts->index_state.uidvalidity != contacts->state.uidvalidity ||
	    contacts->index_state.uidnext == 0 ||
	    contacts->index_state.uidnext > contacts->state.uidnext)
		return 1;
	for (size_t i = 0; i < contacts->index_count; i++) {
		if (!contacts->core->contacts_index_get(&contacts->index, i,
							&contact) ||
		    contact.uid == 0) {
			array_clear(dest);
			array_clear(unread);
			return 1;
		}
		mailbox_get_seq_range(contacts->box, contact.uid, contact.uid,
				      &seq1, &seq2);
		if (seq1 == 0)
			continue;
		if (coi_contact_is_unread(&contact))
			array_push_back(unread, &contact);
		else
			array_push_back(dest, &contact);
	}
	return contacts->index_state.uidnext;
}

static bool coi_contact_content_is_contact(const char *value)
{
	return strcasecmp(t_str_trim(value, " \t\r\n"), "contact") == 0;
}

static int
coi_contact_get_cached(struct mail *mail, struct coi_contact_headers *headers_r)
{
	const char *value;
	int ret, date_ret, tz;

	ret = mail_get_first_header(mail, "Chat-Content", &value);
	if (ret <= 0 || !coi_contact_content_is_contact(value))
		return ret;
	headers_r->is_contact = TRUE;
	if (mail_get_headers(mail, "COI-From-Hash", &headers_r->hashes) < 0)
		return -1;
	ret = mail_get_first_header(mail, "COI-Blocked", &value);
	headers_r->blocked = ret > 0;
	/* the date that Dovecot keeps of it has 32 bits, and no sign */
	date_ret = mail_get_first_header(mail, "Date", &value);
	if (date_ret < 0) {
		headers_r->have_date = mail_get_date(mail, &headers_r->date,
						     &tz) == 0;
	} else {
		headers_r->have_date = TRUE;
		if (date_ret == 0 ||
		    !message_date_parse((const unsigned char *)value,
					strlen(value), &headers_r->date, &tz))
			headers_r->date = 0;
	}
	return ret;
}

/* Looks into Dovecot's cache only: a client that has read these headers may have had
   a key, or a plugin, that we don't have. Returns FALSE if it doesn't know them; the
   Date may be missing all the same. */
static bool coi_contact_find_cached(struct mail *mail,
				    struct coi_contact_headers *headers_r)
{
	bool known;

	i_zero(headers_r);
	mail->lookup_abort = MAIL_LOOKUP_ABORT_NOT_IN_CACHE;
	known = coi_contact_get_cached(mail, headers_r) >= 0;
	mail->lookup_abort = MAIL_LOOKUP_ABORT_NEVER;
	return known;
}

static bool coi_contact_has_control(const unsigned char *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (data[i] < ' ' && data[i] != '\t' && data[i] != '\r')
			return TRUE;
	}
	return FALSE;
}

static bool coi_contact_line_has_control(const struct message_header_line *line)
{
	return coi_contact_has_control((const unsigned char *)line->name,
				       line->name_len) ||
		coi_contact_has_control(line->value, line->value_len);
}

/* Of RFC 5322: the parser takes any line with a colon for one. */
static bool coi_contact_is_field(const struct message_header_line *line)
{
	for (size_t i = 0; i < line->name_len; i++) {
		if (line->name[i] <= ' ' || line->name[i] >= 0x7f)
			return FALSE;
	}
	return line->name_len > 0;
}

static bool coi_contact_wants(const struct message_header_line *line)
{
	return strcasecmp(line->name, "Chat-Content") == 0 ||
		strcasecmp(line->name, "COI-From-Hash") == 0 ||
		strcasecmp(line->name, "COI-Blocked") == 0 ||
		strcasecmp(line->name, "Date") == 0;
}

static void
coi_contact_add_line(const struct message_header_line *line,
		     const char **content, ARRAY_TYPE(const_string) *hashes,
		     struct coi_contact_headers *headers)
{
	const char *value;
	int tz;

	if (strcasecmp(line->name, "COI-Blocked") == 0)
		headers->blocked = TRUE;
	else if (strcasecmp(line->name, "Date") == 0) {
		if (!headers->have_date &&
		    !message_date_parse(line->full_value, line->full_value_len,
					&headers->date, &tz))
			headers->date = 0;
		headers->have_date = TRUE;
	} else {
		value = message_header_strdup(pool_datastack_create(),
					      line->full_value,
					      line->full_value_len);
		if (strcasecmp(line->name, "COI-From-Hash") == 0)
			array_push_back(hashes, &value);
		else if (*content == NULL)
			*content = value;
	}
}

/* Returns FALSE where it isn't text, as what is compressed or encrypted. */
static bool
coi_contact_parse(struct istream *input, struct coi_contact_headers *headers_r)
{
	struct message_header_parser_ctx *parser;
	struct message_header_line *line;
	struct message_size size;
	ARRAY_TYPE(const_string) hashes;
	const char *content = NULL;
	bool is_field = TRUE, has_control = FALSE, first = TRUE;

	t_array_init(&hashes, 4);
	parser = message_parse_header_init(
		input, &size,
		MESSAGE_HEADER_PARSER_FLAG_SKIP_INITIAL_LWSP |
			MESSAGE_HEADER_PARSER_FLAG_DROP_CR);
	while (message_parse_header_next(parser, &line) > 0) {
		if (size.physical_size > COI_CONTACT_MAX_HEADER_SIZE) {
			content = NULL;
			break;
		}
		if (line->eoh)
			break;
		/* bzip2 begins with letters */
		if (first)
			is_field = coi_contact_is_field(line) &&
				!coi_contact_line_has_control(line);
		first = FALSE;
		has_control = has_control ||
			(!is_field && coi_contact_line_has_control(line));
		if (!coi_contact_wants(line))
			continue;
		if (line->continues)
			line->use_full_value = TRUE;
		else
			coi_contact_add_line(line, &content, &hashes,
					     headers_r);
	}
	message_parse_header_deinit(&parser);
	headers_r->size = size.physical_size;
	array_append_zero(&hashes);
	headers_r->hashes = array_front(&hashes);
	headers_r->is_contact = content != NULL &&
		coi_contact_content_is_contact(content);
	return is_field || !has_control;
}

/* Not with Dovecot's look-ups: where they can't read a mail, or read gibberish, the
   cache says from then on that it has no such headers, to clients, too. */
static int
coi_contact_read(struct mail *mail, struct coi_contact_headers *headers_r,
		 const char **error_r)
{
	struct istream *input;
	bool is_text;

	i_zero(headers_r);
	if (mail_get_hdr_stream(mail, NULL, &input) < 0) {
		*error_r = mailbox_get_last_internal_error(mail->box, NULL);
		return -1;
	}
	i_stream_seek(input, 0);
	is_text = coi_contact_parse(input, headers_r);
	if (input->stream_errno != 0) {
		*error_r = i_stream_get_error(input);
		return -1;
	}
	if (!is_text) {
		*error_r = "It isn't text. Does IMAP have a plugin "
			   "that deliveries don't have?";
		return -1;
	}
	return 0;
}

static void coi_contacts_log_unreadable(struct coi_contacts *contacts,
					uint32_t uid, const char *error)
{
	if (contacts->told_unreadable)
		return;
	contacts->told_unreadable = TRUE;
	e_warning(contacts->box->event,
		  "coi: Can't read the contact with UID %u, and maybe others. "
		  "They don't count, and are read again in %u minutes: %s",
		  uid, COI_CONTACTS_PAUSE_SECS / 60, error);
}

static void
coi_contacts_add_hashes(const struct coi_contacts *contacts, uint32_t uid,
			const struct coi_contact_headers *headers,
			ARRAY_TYPE(coi_contact) *dest)
{
	struct coi_contact contact;
	struct coi_bytes bytes;
	const char *const *hashes = headers->hashes;
	unsigned int count = 0;

	i_zero(&contact);
	contact.uid = uid;
	contact.blocked = headers->blocked;
	contact.date = I_MAX(headers->date, 0);
	for (; *hashes != NULL && count < COI_CONTACT_MAX_HASHES; hashes++) {
		if (array_count(dest) >= COI_CONTACTS_MAX)
			break;
		count++;
		bytes.data = *hashes;
		bytes.size = strlen(*hashes);
		if (contacts->core->contact_hash_parse(bytes, contact.hash) &&
		    !coi_contact_is_unread(&contact))
			array_push_back(dest, &contact);
	}
}

/* Returns FALSE if the mail's headers aren't known. */
static bool
coi_contacts_add_mail(struct coi_contacts *contacts, struct mail *mail,
		      bool may_read, ARRAY_TYPE(coi_contact) *dest)
{
	struct coi_contact_headers headers, read;
	bool known = coi_contact_find_cached(mail, &headers);
	bool complete = known && (!headers.is_contact || headers.have_date);
	const char *error;
	int ret;

	if (!complete && may_read) {
		ret = coi_contact_read(mail, &read, &error);
		contacts->read_left -= I_MIN(read.size, contacts->read_left);
		if (ret == 0) {
			headers = read;
			known = complete = TRUE;
		} else if (mail->expunged) {
			contacts->lacks_mail = TRUE;
			return TRUE;
		} else if (!known)
			coi_contacts_log_unreadable(contacts, mail->uid, error);
	}
	if (known && !complete) {
		/* Of two contacts, that tells nearly as well which is newer. */
		(void)mail_get_received_date(mail, &headers.date);
	}
	if (known && headers.is_contact)
		coi_contacts_add_hashes(contacts, mail->uid, &headers, dest);
	/* Nothing for the cache: rolling it back in the end may be too late, since
	   it is written whenever there is much. */
	mail_cache_transaction_reset(mail->transaction->cache_trans);
	return known;
}

/* old is NULL or what is known of a mail that couldn't be read. A mail that can't be
   read is no contact for now: it must not stop the others. */
static void
coi_contacts_try_mail(struct coi_contacts *contacts, struct mail *mail,
		      const struct coi_contact *old,
		      ARRAY_TYPE(coi_contact) *dest)
{
	bool may_read = old == NULL ||
		(coi_contact_is_due(old) && contacts->read_left > 0);
	struct coi_contact contact;
	bool known;

	T_BEGIN {
		known = coi_contacts_add_mail(contacts, mail, may_read, dest);
	}
	T_END;
	if (known || array_count(dest) >= COI_CONTACTS_MAX)
		return;
	i_zero(&contact);
	contact.uid = mail->uid;
	contact.date = may_read ? ioloop_time + COI_CONTACTS_PAUSE_SECS :
				  old->date;
	array_push_back(dest, &contact);
}

static void
coi_contacts_add_new(struct coi_contacts *contacts, uint32_t first_uid,
		     const ARRAY_TYPE(coi_contact) *unread,
		     ARRAY_TYPE(coi_contact) *dest)
{
	struct mailbox_transaction_context *t;
	const struct coi_contact *old;
	unsigned int count;
	uint32_t seq1, seq2;
	struct mail *mail;

	mailbox_get_seq_range(contacts->box, first_uid, (uint32_t)-1, &seq1,
			      &seq2);
	old = array_get(unread, &count);
	if (seq1 == 0 && count == 0)
		return;
	t = mailbox_transaction_begin(
		contacts->box, MAILBOX_TRANSACTION_FLAG_NO_CACHE_DEC, __func__);
	mail = mail_alloc(t, 0, NULL);
	for (unsigned int i = 0; i < count; i++) {
		if (mail_set_uid(mail, old[i].uid))
			coi_contacts_try_mail(contacts, mail, &old[i], dest);
	}
	for (uint32_t seq = seq1; seq != 0 && seq <= seq2; seq++) {
		mail_set_seq(mail, seq);
		if (contacts->read_left == 0) {
			/* The next delivery goes on from here. */
			contacts->state.uidnext = mail->uid;
			coi_contacts_forget_log(contacts);
			break;
		}
		coi_contacts_try_mail(contacts, mail, NULL, dest);
	}
	mail_free(&mail);
	mailbox_transaction_rollback(&t);
}

/* Whole or not at all; of two processes, the last one stays. If it can't be
   written, the next delivery makes it again. */
static void coi_contacts_write_index(const struct coi_contacts *contacts,
				     const buffer_t *index)
{
	const struct mailbox_permissions *perm =
		mailbox_get_permissions(contacts->box);
	string_t *tmp_path;
	int fd;

	if (contacts->path == NULL)
		return;
	tmp_path = t_str_new(256);
	str_append(tmp_path, contacts->path);
	str_append_c(tmp_path, '.');
	fd = safe_mkstemp_hostpid_group(tmp_path, perm->file_create_mode,
					perm->file_create_gid,
					perm->file_create_gid_origin);
	if (fd == -1) {
		e_warning(contacts->box->event,
			  "coi: safe_mkstemp(%s) failed: %m", str_c(tmp_path));
		return;
	}
	if (write_full(fd, index->data, index->used) < 0 ||
	    rename(str_c(tmp_path), contacts->path) < 0) {
		e_warning(contacts->box->event, "coi: Can't write %s: %m",
			  contacts->path);
		i_unlink_if_exists(str_c(tmp_path));
	}
	i_close_fd(&fd);
}

static void
coi_contacts_make_index(const struct coi_contacts *contacts,
			const struct coi_contacts_state *state,
			ARRAY_TYPE(coi_contact) *list, buffer_t *index)
{
	unsigned int count = array_count(list);
	size_t size = contacts->core->contacts_index_size(count);

	buffer_set_used_size(index, 0);
	contacts->core->contacts_index_write(
		state, count == 0 ? NULL : array_front_modifiable(list), count,
		buffer_append_space_unsafe(index, size));
}

static void coi_contacts_update(struct coi_contacts *contacts)
{
	ARRAY_TYPE(coi_contact) list, unread;
	uint32_t first_uid;

	i_array_init(&list, 64);
	i_array_init(&unread, 8);
	first_uid = coi_contacts_keep_old(contacts, &list, &unread);
	coi_contacts_add_new(contacts, first_uid, &unread, &list);
	array_free(&unread);
	if (array_count(&list) >= COI_CONTACTS_MAX) {
		e_warning(contacts->box->event,
			  "coi: There are more than %u "
			  "contacts. The newest ones don't count",
			  COI_CONTACTS_MAX);
	}

	/* done with the old index */
	i_close_fd(&contacts->fd);
	i_zero(&contacts->index);
	coi_contacts_make_index(contacts, &contacts->state, &list,
				contacts->buffer);
	array_free(&list);
	coi_contacts_write_index(contacts, contacts->buffer);
	coi_contacts_use_index(contacts, contacts->buffer->used);
}

/* Somebody has just expunged a mail; or a maildir's dovecot-uidlist was removed, and
   no mail can be read until Dovecot has made another one. */
static int
coi_contacts_update_synced(struct coi_contacts *contacts, const char **error_r)
{
	int ret;

	coi_contacts_update(contacts);
	if (!contacts->lacks_mail || contacts->box->index->readonly)
		return 1;
	(void)mailbox_sync(contacts->box, MAILBOX_SYNC_FLAG_FULL_READ);
	/* It may have another UIDVALIDITY now. */
	mailbox_free(&contacts->box);
	ret = coi_contacts_open(contacts, error_r);
	if (ret > 0)
		coi_contacts_update(contacts);
	return ret;
}

/* Returns 1 if there is an index, and it is up to date, 0 if there are no
   contacts, -1 if error. */
static int
coi_contacts_get_index(struct coi_contacts *contacts, const char **error_r)
{
	int ret;

	coi_contacts_get_paths(contacts);
	/* before the folder is opened: what changes later is then seen next
	   time */
	coi_contacts_stat_log(contacts);
	coi_contacts_open_index(contacts);
	if (coi_contacts_index_is_fresh(contacts))
		return 1;
	ret = coi_contacts_open(contacts, error_r);
	if (ret > 0 && !coi_contacts_index_is_current(contacts))
		ret = coi_contacts_update_synced(contacts, error_r);
	return ret;
}

/* libdovecot's SHA-3 and not OpenSSL's: it is in the process already, and a
   delivering process may live for one mail only. */
static bool coi_contacts_address_is_blocked(const struct coi_contacts *contacts,
					    const char *normalized, size_t size)
{
	unsigned char hash[COI_CONTACT_HASH_SIZE];

	if (size == 0)
		return FALSE;
	sha3_256_get_digest(normalized, size, hash);
	return contacts->core->contacts_index_is_blocked(&contacts->index,
							 hash);
}

/* Where From isn't well-formed, clients show the address in the brackets, and
   Dovecot's parser finds another one, or none. Then either counts. */
static bool
coi_contacts_sender_is_blocked(const struct coi_contacts *contacts,
			       struct coi_bytes from, size_t max_size,
			       unsigned int *addresses_left)
{
	const struct coi_core *core = contacts->core;
	const struct message_address *addr;
	char normalized[COI_ADDRESS_MAX_SIZE], last[COI_ADDRESS_MAX_SIZE];
	size_t size, last_size = 0;
	struct coi_bytes local_part, domain;

	if (core->address_find_last(from, &local_part, &domain)) {
		last_size = core->address_normalize(local_part, domain, last,
						    sizeof(last));
	}
	from.size = I_MIN(from.size, max_size);
	for (addr = coi_headers_all_addresses(from);
	     addr != NULL && *addresses_left > 0;
	     addr = coi_headers_next_address(addr), --*addresses_left) {
		size = core->address_normalize(
			coi_bytes_from_str(addr->mailbox),
			coi_bytes_from_str(addr->domain), normalized,
			sizeof(normalized));
		if (coi_contacts_address_is_blocked(contacts, normalized, size))
			return TRUE;
		if (size == last_size && memcmp(normalized, last, size) == 0)
			last_size = 0;
	}
	return coi_contacts_address_is_blocked(contacts, last, last_size);
}

/* There may be several From, against the RFC: clients show the addresses of all. */
static bool coi_contacts_one_is_blocked(const struct coi_contacts *contacts,
					const char *const *from)
{
	size_t size, left = COI_CONTACTS_MAX_FROM_SIZE;
	unsigned int addresses_left = COI_CONTACTS_MAX_FROM_ADDRESSES;
	bool blocked = FALSE;

	for (; *from != NULL && left > 0 && !blocked; from++) {
		T_BEGIN {
			blocked = coi_contacts_sender_is_blocked(
				contacts, coi_bytes_from_str(*from), left,
				&addresses_left);
		}
		T_END;
		/* with its name: even those with nothing in them are bounded */
		size = strlen(*from) + sizeof("From:");
		left -= I_MIN(size, left);
	}
	return blocked;
}

int coi_contacts_is_blocked(struct mail_user *user, const char *const *from,
			    const char **error_r)
{
	struct coi_contacts contacts;
	int ret;

	i_zero(&contacts);
	contacts.fd = -1;
	contacts.read_left = COI_CONTACTS_MAX_READ_SIZE;
	contacts.core = coi_core_get(user->event);
	if (contacts.core == NULL)
		return 0;
	contacts.ns = coi_user_inbox_namespace(user);
	contacts.vname = coi_folder_contacts(user);
	contacts.buffer = buffer_create_dynamic(default_pool,
						COI_CONTACTS_READ_SIZE);
	ret = coi_contacts_get_index(&contacts, error_r);
	if (ret > 0) {
		ret = contacts.index_count > 0 &&
				coi_contacts_one_is_blocked(&contacts, from) ?
			1 :
			0;
	}
	buffer_free(&contacts.buffer);
	i_close_fd(&contacts.fd);
	if (contacts.box != NULL)
		mailbox_free(&contacts.box);
	return ret;
}
