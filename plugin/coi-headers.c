/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "istream.h"
#include "message-address.h"
#include "message-header-parser.h"
#include "mail-storage-private.h"
#include "mbox-storage.h"
#include "coi-core.h"
#include "coi-headers.h"

/* Larger header blocks are left to Dovecot's parser, which needs no buffer for
   all of them. */
#define COI_HEADERS_MAX_SIZE ((size_t)64 * 1024)
/* The first address may have groups in front of it. */
#define COI_HEADERS_FIRST_ADDRESSES 16

/* As Dovecot gives them: it has no NUL in them. */
static struct coi_bytes coi_headers_copy_value(struct coi_bytes value)
{
	if (value.data == NULL)
		return value;
	return coi_bytes_from_str(message_header_strdup(
		pool_datastack_create(), (const unsigned char *)value.data,
		value.size));
}

/* Returns FALSE if the header block can't be read, is too large for a buffer,
   or never ends. */
static bool
coi_headers_scan(const struct coi_core *core, struct mail *mail,
		 const char *const names[], struct coi_bytes values_r[])
{
	unsigned int count = str_array_length(names);
	struct coi_header *headers = t_new(struct coi_header, count);
	struct coi_bytes bytes = { NULL, 0 };
	const unsigned char *data;
	struct istream *input;
	bool found = FALSE;
	uoff_t offset;

	if (mail_get_hdr_stream(mail, NULL, &input) < 0)
		return FALSE;
	for (unsigned int i = 0; i < count; i++)
		headers[i].name = coi_bytes_from_str(names[i]);
	offset = input->v_offset;
	i_stream_seek(input, 0);
	while (!found && bytes.size < COI_HEADERS_MAX_SIZE &&
	       i_stream_read_data(input, &data, &bytes.size, bytes.size) > 0) {
		bytes.data = (const char *)data;
		found = core->headers_find(bytes, headers, count);
	}
	for (unsigned int i = 0; found && i < count; i++)
		values_r[i] = coi_headers_copy_value(headers[i].value);
	i_stream_seek(input, offset);
	return found;
}

const char *const *coi_headers_find_all(struct mail *mail, const char *name)
{
	const char *const *values;

	return mail_get_headers(mail, name, &values) > 0 ? values : NULL;
}

static void coi_headers_parse(struct mail *mail, const char *const names[],
			      struct coi_bytes values_r[])
{
	struct mailbox_header_lookup_ctx *wanted;
	const char *const *values = NULL;

	/* one pass over the header for all of them */
	wanted = mailbox_header_lookup_init(mail->box, names);
	mail_add_temp_wanted_fields(mail, 0, wanted);
	mailbox_header_lookup_unref(&wanted);
	for (unsigned int i = 0; names[i] != NULL; i++) {
		if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
			values = coi_headers_find_all(mail, names[i]);
		else if (values != NULL && *values != NULL)
			values++;
		values_r[i] = coi_bytes_from_str(values == NULL ? NULL :
								  *values);
	}
}

/* A mail to several recipients is copied from one that is in a mailbox already.
   What is asked of Dovecot there, its cache is to have from then on. But the stream
   of an mbox forgets what it has given out that isn't consumed, and the copy would
   have no header. */
static bool coi_headers_may_scan(struct mail *mail)
{
	return strcmp(mail->box->storage->name, MBOX_STORAGE_NAME) != 0;
}

void coi_headers_find(const struct coi_core *core, struct mail *mail,
		      const char *const names[], struct coi_bytes values_r[])
{
	if (core == NULL || !coi_headers_may_scan(mail) ||
	    !coi_headers_scan(core, mail, names, values_r))
		coi_headers_parse(mail, names, values_r);
}

static const struct message_address *
coi_headers_parse_addresses(struct coi_bytes value, unsigned int max)
{
	return message_address_parse(pool_datastack_create(),
				     (const unsigned char *)value.data,
				     value.size, max, 0);
}

/* From this one on. The beginning and the end of a group have no domain. */
static const struct message_address *
coi_headers_find_address(const struct message_address *addr)
{
	while (addr != NULL &&
	       (addr->mailbox == NULL || addr->mailbox[0] == '\0' ||
		addr->domain == NULL || addr->domain[0] == '\0'))
		addr = addr->next;
	return addr;
}

const struct message_address *coi_headers_first_address(struct coi_bytes value)
{
	return coi_headers_find_address(coi_headers_parse_addresses(
		value, COI_HEADERS_FIRST_ADDRESSES));
}

const struct message_address *coi_headers_all_addresses(struct coi_bytes value)
{
	return coi_headers_find_address(
		coi_headers_parse_addresses(value, UINT_MAX));
}

const struct message_address *
coi_headers_next_address(const struct message_address *addr)
{
	return coi_headers_find_address(addr->next);
}

const char *coi_headers_first_name(struct coi_bytes value)
{
	const struct message_address *addr;

	for (addr = coi_headers_parse_addresses(value,
						COI_HEADERS_FIRST_ADDRESSES);
	     addr != NULL; addr = addr->next) {
		if (addr->name != NULL && addr->name[0] != '\0')
			return addr->name;
	}
	return NULL;
}
