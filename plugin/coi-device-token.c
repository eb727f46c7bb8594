/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "hex-binary.h"
#include "sha2.h"
#include "coi-compat.h"
#include "coi-subscriptions.h"
#include "coi-user.h"
#include "coi-webpush.h"
#include "coi-device-token.h"

#define DEVICE_TOKEN_KEY "devicetoken"
/* What Delta Chat asks of a server: how many recipients a mail may have. */
#define DEVICE_TOKEN_RECIPIENTS_KEY                 \
	MAILBOX_ATTRIBUTE_PREFIX_DOVECOT_PVT_SERVER \
	"vendor/deltachat/maxsmtprecipients"
/* Its id is this and the beginning of its hash. */
#define DEVICE_TOKEN_ID_PREFIX "deltachat-"
#define DEVICE_TOKEN_ID_BYTES 12

static bool device_token_is_recipients_key(const char *key)
{
	return strcmp(key, DEVICE_TOKEN_RECIPIENTS_KEY) == 0;
}

bool coi_device_token_is_offered(struct mail_user *user)
{
	const struct coi_settings *set = coi_user_settings(user);

	/* Not the other way round: that gives lib-storage a dict, and where this
	   is off, the entries are to be refused as stock Dovecot refuses them. */
	return set != NULL && set->coi_push_deltachat &&
		coi_push_settings(user) != NULL;
}

bool coi_device_token_owns(struct mailbox *box,
			   enum mail_attribute_type type_flags, const char *key)
{
	struct mail_user *user = box->storage->user;

	switch (type_flags & MAIL_ATTRIBUTE_TYPE_MASK) {
	case MAIL_ATTRIBUTE_TYPE_PRIVATE:
		if (strcmp(key, DEVICE_TOKEN_KEY) != 0)
			return FALSE;
		break;
	case MAIL_ATTRIBUTE_TYPE_SHARED:
		if (!device_token_is_recipients_key(key))
			return FALSE;
		break;
	default:
		return FALSE;
	}
	/* not somebody else's INBOX */
	return !user->dsyncing && box->inbox_user &&
		coi_device_token_is_offered(user);
}

int coi_device_token_get(struct mailbox *box, const char *key,
			 struct mail_attribute_value *value_r)
{
	const struct coi_settings *set = coi_push_settings(box->storage->user);

	i_zero(value_r);
	if (!device_token_is_recipients_key(key))
		return 0;
	i_assert(set != NULL);
	value_r->value = t_strdup_printf("%u",
					 set->coi_push_deltachat_recipients);
	return 1;
}

static const char *device_token_id(const char *token)
{
	unsigned char hash[SHA256_RESULTLEN];

	sha256_get_digest(token, strlen(token), hash);
	return t_strconcat(DEVICE_TOKEN_ID_PREFIX,
			   binary_to_hex(hash, DEVICE_TOKEN_ID_BYTES), NULL);
}

int coi_device_token_set(struct mailbox_transaction_context *t, const char *key,
			 const struct mail_attribute_value *value)
{
	const char *token;

	if (device_token_is_recipients_key(key))
		coi_webpush_set_refused(t, "It is set by the server");
	else if (value->value == NULL && value->value_stream == NULL)
		coi_webpush_unset_device_tokens(t);
	else if ((token = coi_webpush_read_value(
			  t, value, COI_DEVICE_TOKEN_MAX_SIZE)) != NULL)
		coi_webpush_set_device_token(t, device_token_id(token), token);
	return 0;
}
