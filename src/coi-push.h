/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_PUSH_H
#define COI_PUSH_H

/* The second door of the core: what mail processes need for Web Push. The
 * conventions are those of coi.h. It is a library of its own, because only
 * users with push subscriptions need it: it links the JSON library. The third
 * one, struct coi_seal, links libcrypto, which is slow to load; it is needed
 * only while the push service is away.
 *
 * A subscription is stored as one JSON object, made by subscription_parse(),
 * with its secrets. Nothing else reads or changes it but the functions below.
 */

#include "coi.h"

#ifdef __cplusplus
extern "C" {
#endif

#define COI_PUSH_VERSION 1
#define COI_PUSH_SYMBOL "coi_push"

/* A stored subscription, and what a client reads of it, fit into this. */
#define COI_SUBSCRIPTION_MAX_SIZE 16384
/* The longest JSON object that a client may set. */
#define COI_SUBSCRIPTION_INPUT_MAX_SIZE 8192
/* CLI-4 */
#define COI_DEVICE_TOKEN_MAX_SIZE 4096
/* SUB-6: at most 1 kB */
#define COI_VALIDATION_MAX_SIZE 1000

/* What of a mail decides which subscriptions want it (MSG-1, SUB-10). */
struct coi_push_mail {
	/* it has $Chat */
	bool chat;
	/* address of the sender, in any case; absent if there is none */
	struct coi_bytes from_email;
};

/* Which mail a subscription wants, whoever it is from. */
struct coi_push_wishes {
	bool chat, mail;
	/* but not of some senders: ask subscription_wants() (SUB-10) */
	bool excludes;
};

/* Of names of clients and devices, in octets. */
#define COI_SUBSCRIPTION_NAME_MAX_SIZE 128
/* Of a host name with its port. */
#define COI_PUSH_SERVICE_MAX_SIZE 261

/* What an admin may see of a stored subscription: neither its URL nor its keys.
   Texts end with a NUL. */
struct coi_subscription_info {
	/* Of Delta Chat (CLI-4): it has no texts. */
	bool is_device_token;
	bool validated;
	/* seconds since 1970 */
	int64_t created;
	/* chat, mail or all */
	char msgtype[8];
	/* Host and port, as the client has written them; longer ones are cut. */
	char push_service[COI_PUSH_SERVICE_MAX_SIZE + 1];
	char client[COI_SUBSCRIPTION_NAME_MAX_SIZE + 1];
	char device[COI_SUBSCRIPTION_NAME_MAX_SIZE + 1];
};

enum coi_validate_result {
	/* The text is right: store what was written. */
	COI_VALIDATE_OK = 0,
	/* wrong text, too late, or validated already */
	COI_VALIDATE_REFUSED,
};

struct coi_push {
	/* COI_PUSH_VERSION of the library that filled in this table */
	unsigned int version;

	/* May this be the <id> of a subscription? SUB-2 */
	bool (*subscription_id_check)(struct coi_bytes id);

	/* Checks the JSON that a client sets (SUB-3, SUB-10; everything but
	   whether the p256dh key is a point of the curve, and whether the
	   endpoint is allowed: that is the push service's part), and writes
	   what is to be stored: unknown keys dropped, synonyms replaced, keys
	   as unpadded base64url, `created` (SUB-4), not yet validated, to be
	   discarded at `expires` (both in seconds since 1970), with the text
	   that validates it.
	   buf is COI_SUBSCRIPTION_MAX_SIZE large. Returns NULL and the size
	   written; or a static text for the client that says what is wrong. */
	const char *(*subscription_parse)(struct coi_bytes json,
					  int64_t created, int64_t expires,
					  struct coi_bytes validation,
					  char *buf, size_t *size_r);

	/* Writes what a client may read of a stored subscription (SUB-4,
	   SUB-11: `auth` is an empty string, no validation text). Returns
	   FALSE where the stored value is damaged. */
	bool (*subscription_show)(struct coi_bytes stored, char *buf,
				  size_t *size_r);

	/* FALSE where it is damaged, or not validated in time (SUB-8). */
	bool (*subscription_is_live)(struct coi_bytes stored, int64_t now);

	/* The same for a delivery, which has no time: a value that begins as
	   ours do isn't looked at more closely. The push service does. */
	bool (*subscription_wishes)(struct coi_bytes stored, int64_t now,
				    struct coi_push_wishes *wishes_r);

	/* Compares in constant time (SUB-7, SUB-9), and writes the validated
	   subscription, without the text. */
	enum coi_validate_result (*subscription_validate)(
		struct coi_bytes stored, struct coi_bytes text, int64_t now,
		char *buf, size_t *size_r);

	/* Is it validated, and does it want this mail? MSG-1, SUB-8, SUB-10.
	   FALSE where it is damaged. */
	bool (*subscription_wants)(struct coi_bytes stored,
				   const struct coi_push_mail *mail);

	/* Sets the VAPID key that the push service has answered it will sign
	   with (docs/handoff.md, `vapid`). */
	bool (*subscription_set_vapid)(struct coi_bytes stored,
				       struct coi_bytes vapid, char *buf,
				       size_t *size_r);

	/* Writes what is to be stored of a device token of Delta Chat (CLI-4),
	   in the place of a subscription, when the device sets it. buf is
	   COI_SUBSCRIPTION_MAX_SIZE large. Returns FALSE where it can't be
	   one. */
	bool (*device_token_store)(struct coi_bytes token, int64_t now,
				   char *buf, size_t *size_r);

	/* TRUE if a device token is what is stored. set_r is when the device
	   has last set it, in seconds since 1970; if it is NULL, the value
	   isn't looked at closely. */
	bool (*device_token_check)(struct coi_bytes stored, int64_t *set_r);

	/* FALSE where it is damaged. */
	bool (*subscription_get_info)(struct coi_bytes stored,
				      struct coi_subscription_info *info_r);
};

typedef const struct coi_push *coi_push_func_t(unsigned int version);
__attribute__((visibility("default"))) coi_push_func_t coi_push;

/* Of the hand-off (docs/handoff.md), which mail processes write and the push
   service reads. A request has its LF with it. */
#define COI_HANDOFF_VERSION "1"
#define COI_HANDOFF_MAX_SIZE 262144
#define COI_HANDOFF_MAX_SUBSCRIPTIONS 100
/* Files of the spool: the key that they are sealed for, and what the names of
   the others end with. */
#define COI_SPOOL_KEY_NAME "seal.pub"
#define COI_SPOOL_SUFFIX ".handoff"

#define COI_SEAL_VERSION 1
#define COI_SEAL_SYMBOL "coi_seal"
/* A sealed text is longer than the text by this. */
#define COI_SEAL_OVERHEAD 128

/* Encrypts what is put into the spool, so that only the push service can read
   it (MSG-12). */
struct coi_seal {
	unsigned int version;

	/* public_key is the text of the file COI_SPOOL_KEY_NAME (PEM).
	   buf is text.size + COI_SEAL_OVERHEAD large. Returns the size
	   written, or 0 if the key can't be used. */
	size_t (*seal)(struct coi_bytes public_key, struct coi_bytes text,
		       char *buf);
};

typedef const struct coi_seal *coi_seal_func_t(unsigned int version);
__attribute__((visibility("default"))) coi_seal_func_t coi_seal;

#ifdef __cplusplus
}
#endif

#endif /* COI_PUSH_H */
