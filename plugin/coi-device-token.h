/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_DEVICE_TOKEN_H
#define COI_DEVICE_TOKEN_H

/* Push for Delta Chat (CLI-4), if the admin wants it. Delta Chat doesn't subscribe
   as Web Push does. It sets the entry /private/devicetoken of INBOX to a token, and
   whoever sends that to its makers' gateway wakes the device. We keep each
   token in the place of a subscription (coi-webpush.c). */

#include "mail-storage-private.h"

/* Tokens of one user. The one that was set longest ago makes room. */
#define COI_DEVICE_TOKENS_MAX 10

/* TRUE if the user may set tokens. */
bool coi_device_token_is_offered(struct mail_user *user);

/* TRUE if the attribute of INBOX is one of ours. */
bool coi_device_token_owns(struct mailbox *box,
			   enum mail_attribute_type type_flags,
			   const char *key);

/* As attribute_get() and attribute_set() of struct mailbox_vfuncs, for an attribute
   of ours. A token can't be read back. */
int coi_device_token_get(struct mailbox *box, const char *key,
			 struct mail_attribute_value *value_r);
int coi_device_token_set(struct mailbox_transaction_context *t, const char *key,
			 const struct mail_attribute_value *value);

#endif
