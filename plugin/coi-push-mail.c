/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "buffer.h"
#include "charset-utf8.h"
#include "istream.h"
#include "message-address.h"
#include "message-date.h"
#include "message-header-decode.h"
#include "message-size.h"
#include "rfc822-parser.h"
#include "str.h"
#include "unichar.h"
#include "mail-storage-private.h"
#include "coi-core.h"
#include "coi-handoff.h"
#include "coi-headers.h"
#include "coi-push-mail.h"

#define PUSH_MAIL_MAX_PARAMS 64
/* Of a header, as it is in the mail: encoded words are longer than their text. */
#define PUSH_MAIL_MAX_ENCODED ((size_t)4 * COI_HANDOFF_MAX_VALUE)

static const char *push_mail_unfold(const char *value)
{
	string_t *str;

	if (value == NULL || strpbrk(value, "\r\n") == NULL)
		return value;
	str = t_str_new(strlen(value));
	for (; *value != '\0'; value++) {
		if (*value != '\r' && *value != '\n')
			str_append_c(str, *value);
	}
	return str_c(str);
}

/* An encoded word may have a NUL in it, which would hide what is behind it. */
static const char *push_mail_without_nul(string_t *str)
{
	const char *text = str_c(str), *end = text + str_len(str);
	string_t *result;

	if (text + strlen(text) == end)
		return text;
	result = t_str_new(str_len(str));
	for (; text < end; text++) {
		if (*text != '\0')
			str_append_c(result, *text);
		else
			str_append(result, UNICODE_REPLACEMENT_CHAR_UTF8);
	}
	return str_c(result);
}

/* Names that many senders give to a charset that has more characters, or that iconv
   doesn't know. Browsers read them like this, too. */
static const struct {
	const char *name, *charset;
} push_mail_charsets[] = {
	{ "euc-kr", "cp949" },
	{ "gb2312", "gb18030" },
	{ "gbk", "gb18030" },
	{ "iso-8859-1", "windows-1252" },
	{ "iso-8859-8-i", "iso-8859-8" },
	{ "ks_c_5601-1987", "cp949" },
	{ "shift_jis", "cp932" },
};

/* Encoded words of one charset that stand together are decoded as one: many
   senders cut between octets, although RFC 2047 says they must not. */
struct push_mail_decoder {
	string_t *text;
	/* of the words that aren't decoded yet */
	string_t *charset;
	buffer_t *words;
};

static void
push_mail_append_utf8(string_t *text, const unsigned char *data, size_t size)
{
	if (uni_utf8_get_valid_data(data, size, text))
		buffer_append(text, data, size);
}

static int push_mail_charset_begin(const char *name,
				   struct charset_translation **translation_r)
{
	for (unsigned int i = 0; i < N_ELEMENTS(push_mail_charsets); i++) {
		if (strcasecmp(name, push_mail_charsets[i].name) == 0 &&
		    charset_to_utf8_begin(push_mail_charsets[i].charset, NULL,
					  translation_r) == 0)
			return 0;
	}
	return charset_to_utf8_begin(name, NULL, translation_r);
}

static void push_mail_decode_words(struct push_mail_decoder *decoder)
{
	struct charset_translation *translation;
	const buffer_t *words = decoder->words;
	size_t size = words->used;

	if (size == 0)
		return;
	if (charset_is_utf8(str_c(decoder->charset)) ||
	    push_mail_charset_begin(str_c(decoder->charset), &translation) <
		    0) {
		push_mail_append_utf8(decoder->text, words->data, size);
	} else {
		charset_to_utf8(translation, words->data, &size, decoder->text);
		charset_to_utf8_end(&translation);
		/* half a character at the end */
		if (size < words->used) {
			str_append(decoder->text,
				   UNICODE_REPLACEMENT_CHAR_UTF8);
		}
	}
	buffer_set_used_size(decoder->words, 0);
}

static bool push_mail_decoded(const unsigned char *data, size_t size,
			      const char *charset, void *context)
{
	struct push_mail_decoder *decoder = context;

	if (charset == NULL) {
		push_mail_decode_words(decoder);
		push_mail_append_utf8(decoder->text, data, size);
		return TRUE;
	}
	/* A language may follow (RFC 2231, 5). */
	charset = t_strcut(charset, '*');
	if (strcasecmp(charset, str_c(decoder->charset)) != 0) {
		push_mail_decode_words(decoder);
		str_truncate(decoder->charset, 0);
		str_append(decoder->charset, charset);
	}
	buffer_append(decoder->words, data, size);
	return TRUE;
}

/* What is handed over has a limit, and each encoded word may take long. */
const char *coi_push_mail_decode(const char *value)
{
	struct push_mail_decoder decoder;

	if (value == NULL)
		return NULL;
	decoder.text = t_str_new(128);
	decoder.charset = t_str_new(32);
	decoder.words = t_buffer_create(128);
	message_header_decode((const unsigned char *)value,
			      I_MIN(strlen(value), PUSH_MAIL_MAX_ENCODED),
			      push_mail_decoded, &decoder);
	push_mail_decode_words(&decoder);
	return push_mail_without_nul(decoder.text);
}

/* A parameter that isn't well-formed, as many a boundary without quotes, hides
   none of those behind it. */
static bool push_mail_has_mdn_type(struct rfc822_parser_context *parser)
{
	string_t *value = t_str_new(64);
	const char *key;
	int ret;

	for (unsigned int i = 0; i < PUSH_MAIL_MAX_PARAMS; i++) {
		ret = rfc822_parse_content_param(parser, &key, value);
		if (ret == 0)
			break;
		if (ret > 0 && strcasecmp(key, "report-type") == 0) {
			return strcasecmp(str_c(value),
					  "disposition-notification") == 0;
		}
		while (ret < 0 && parser->data < parser->end &&
		       *parser->data != ';')
			parser->data++;
	}
	return FALSE;
}

bool coi_push_mail_is_mdn(const char *content_type)
{
	struct rfc822_parser_context parser;
	string_t *type = t_str_new(64);
	bool ret = FALSE;

	if (content_type == NULL)
		return FALSE;
	rfc822_parser_init(&parser, (const unsigned char *)content_type,
			   strlen(content_type), NULL);
	rfc822_skip_lwsp(&parser);
	if (rfc822_parse_content_type(&parser, type) > 0 &&
	    strcasecmp(str_c(type), "multipart/report") == 0)
		ret = push_mail_has_mdn_type(&parser);
	rfc822_parser_deinit(&parser);
	return ret;
}

/* Where From isn't well-formed, and Dovecot's parser finds no address, the one that is
   looked for among blocked contacts. */
static const char *
push_mail_find_address(const struct coi_core *core, struct coi_bytes value)
{
	struct coi_bytes local_part, domain;
	char address[COI_ADDRESS_MAX_SIZE];
	const char *result;
	size_t size;

	if (core == NULL ||
	    !core->address_find_last(value, &local_part, &domain))
		return NULL;
	size = core->address_normalize(local_part, domain, address,
				       sizeof(address));
	result = t_strndup(address, size);
	/* It may be any text that has an '@'. */
	return size == 0 || strpbrk(result, " ()<>,:;") != NULL ? NULL : result;
}

/* A name that has an '@', and no quotes, Dovecot's parser takes for the address. Mail
   programs don't. */
static bool
push_mail_read_odd_name(const struct coi_core *core, struct coi_bytes value,
			struct coi_handoff_mail *info)
{
	size_t size = strcspn(value.data, "<,:;(\"");
	struct coi_bytes first = value;
	const char *end;

	if (value.data[size] != '<' || memchr(value.data, '@', size) == NULL)
		return FALSE;
	end = strchr(value.data + size, '>');
	if (end != NULL)
		first.size = end - value.data;
	info->from_email = push_mail_find_address(core, first);
	if (info->from_email == NULL)
		return FALSE;
	info->from_name = coi_push_mail_decode(push_mail_unfold(
		t_str_trim(t_strndup(value.data, size), " \t\r\n")));
	return TRUE;
}

static void
push_mail_read_from(const struct coi_core *core, struct coi_bytes value,
		    struct coi_handoff_mail *info)
{
	const struct message_address *addr;

	if (value.data == NULL || push_mail_read_odd_name(core, value, info))
		return;
	addr = coi_headers_first_address(value);
	if (addr != NULL) {
		info->from_email = t_strconcat(addr->mailbox, "@", addr->domain,
					       NULL);
	} else {
		info->from_email = push_mail_find_address(core, value);
	}
	info->from_name = coi_push_mail_decode(
		addr != NULL ? addr->name : coi_headers_first_name(value));
}

static void
push_mail_read_date(const char *value, struct coi_handoff_mail *info)
{
	time_t date;

	if (value != NULL &&
	    message_date_parse((const unsigned char *)value, strlen(value),
			       &date, &info->date_offset)) {
		info->have_date = TRUE;
		info->date = date;
	}
}

static void
push_mail_read_group(const struct coi_core *core, struct coi_bytes message_id,
		     struct coi_bytes references, struct coi_handoff_mail *info)
{
	struct coi_chat_headers hdr = {
		.message_id = message_id,
		.references = references,
	};
	struct coi_bytes group_id;

	if (core != NULL && core->chat_group_id(&hdr, &group_id))
		info->group_id = t_strndup(group_id.data, group_id.size);
}

/* As it is in the mail, as in ENVELOPE: Dovecot's parser takes quotes and blanks away, and
   knows no id without a domain. */
static void
push_mail_read_id(const struct coi_core *core, struct coi_bytes value,
		  struct coi_handoff_mail *info)
{
	struct coi_bytes id;

	if (core != NULL && core->message_id_find(value, &id))
		info->msg_id = push_mail_unfold(t_strndup(id.data, id.size));
}

/* Appends with each CRLF made LF. */
static void push_mail_body_append(buffer_t *body, const unsigned char *data,
				  size_t size, bool *cr)
{
	for (size_t i = 0; i < size; i++) {
		if (*cr && data[i] == '\n')
			buffer_set_used_size(body, body->used - 1);
		buffer_append_c(body, data[i]);
		*cr = data[i] == '\r';
	}
}

static const buffer_t *push_mail_read_body(struct mail *mail)
{
	struct message_size hdr_size;
	const unsigned char *data;
	struct istream *input;
	buffer_t *body;
	size_t size;
	bool cr = FALSE;

	if (mail_get_stream_because(mail, &hdr_size, NULL, "push", &input) < 0)
		return NULL;
	body = t_buffer_create(1024);
	i_stream_seek(input, hdr_size.physical_size);
	while (body->used <= COI_HANDOFF_MAX_VALUE &&
	       i_stream_read_more(input, &data, &size) > 0) {
		/* one octet more shows that it is too large */
		size = I_MIN(size, COI_HANDOFF_MAX_VALUE + 1 - body->used);
		push_mail_body_append(body, data, size, &cr);
		i_stream_skip(input, size);
	}
	return input->stream_errno != 0 || body->used > COI_HANDOFF_MAX_VALUE ?
		NULL :
		body;
}

void coi_push_mail_read(struct mail *mail, struct coi_handoff_mail *info)
{
	enum {
		ENCODING,
		TYPE,
		DATE,
		FROM,
		MESSAGE_ID,
		REFERENCES,
		SUBJECT,
		COUNT,
	};
	static const char *const names[COUNT + 1] = {
		[ENCODING] = "Content-Transfer-Encoding",
		[TYPE] = "Content-Type",
		[DATE] = "Date",
		[FROM] = "From",
		[MESSAGE_ID] = "Message-ID",
		[REFERENCES] = "References",
		[SUBJECT] = "Subject",
	};
	const struct coi_core *core = coi_core_get(mail->box->event);
	struct coi_bytes values[COUNT];

	coi_headers_find(core, mail, names, values);
	push_mail_read_from(core, values[FROM], info);
	push_mail_read_date(values[DATE].data, info);
	push_mail_read_group(core, values[MESSAGE_ID], values[REFERENCES],
			     info);
	push_mail_read_id(core, values[MESSAGE_ID], info);
	info->subject =
		coi_push_mail_decode(push_mail_unfold(values[SUBJECT].data));
	info->content_type = push_mail_unfold(values[TYPE].data);
	info->content_encoding = push_mail_unfold(values[ENCODING].data);
}

void coi_push_mail_read_body(struct mail *mail, struct coi_handoff_mail *info)
{
	info->body = push_mail_read_body(mail);
}
