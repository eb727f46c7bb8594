/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_H
#define COI_H

/* The door between the Dovecot modules (plugin/, C) and the core (src/, C++).
 *
 * Conventions:
 * (1) The core knows no Dovecot type, the modules know no C++ type. What
 *     crosses is what stands in this file.
 * (2) A byte string is a struct coi_bytes: pointer and length, no terminator,
 *     any byte allowed. data == NULL means "absent", which is not the same as
 *     empty. The core reads it during the call only and keeps no pointer.
 * (3) No function throws, blocks, allocates memory that the caller must free,
 *     or keeps state. All may be called from any thread.
 * (4) The core is reached through one exported symbol, coi_core(), found with
 *     dlopen() and dlsym(). Where that fails, the modules carry on without
 *     COI; mail is never lost for it.
 * (5) The table only grows at its end within one COI_CORE_VERSION; any other
 *     change gives it a new number.
 */

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define COI_CORE_VERSION 1
#define COI_CORE_SYMBOL "coi_core"

struct coi_bytes {
	const char *data;
	size_t size;
};

/* What the core needs of a mail's top header block: the value of the first
   header of each name as it stands in the mail, still folded and with its
   comments (PROTOCOL DET-4). */
struct coi_chat_headers {
	struct coi_bytes chat_version;
	struct coi_bytes message_id;
	struct coi_bytes references;
};

/* The rule that made a mail a chat mail; the first one that matches wins. */
enum coi_chat_rule {
	/* not a chat mail */
	COI_CHAT_RULE_NONE = 0,
	/* it has a Chat-Version header, whatever the value (DET-1) */
	COI_CHAT_RULE_VERSION,
	/* its Message-ID starts with "<chat$" (DET-2) */
	COI_CHAT_RULE_MESSAGE_ID,
	/* the first id in its References starts with "<chat$" (DET-3) */
	COI_CHAT_RULE_REFERENCES,
};

/* Values of the entry coi/config/message-filter (CFG-5). */
enum coi_filter {
	/* chat mail stays where it would have gone; the default */
	COI_FILTER_NONE = 0,
	/* chat mail is stored in the Chats folder in the first place */
	COI_FILTER_ACTIVE,
	/* chat mail moves to the Chats folder once it is \Seen */
	COI_FILTER_SEEN,
};

struct coi_core {
	/* COI_CORE_VERSION of the core that filled in this table */
	unsigned int version;

	/* Is it a chat mail, and by which rule? DET-1..4 */
	enum coi_chat_rule (*chat_detect)(const struct coi_chat_headers *hdr);

	/* Short lower-case name of a rule for logs and events:
	   "none", "chat-version", "message-id", "references". */
	const char *(*chat_rule_name)(enum coi_chat_rule rule);

	/* The group id of a chat mail (DET-5), from the Message-ID or else
	   from the first References id. Returns true and a piece of the
	   caller's own header bytes, or false where there is none. */
	bool (*chat_group_id)(const struct coi_chat_headers *hdr,
			      struct coi_bytes *group_id_r);

	/* Value of coi/config/enabled: true for "yes" and nothing else
	   (CFG-3, CFG-4, CFG-6). */
	bool (*config_enabled_parse)(struct coi_bytes value);

	/* Value of coi/config/message-filter. Returns false, and leaves
	   *filter_r alone, where the value is not one of CFG-5. */
	bool (*config_filter_parse)(struct coi_bytes value,
				    enum coi_filter *filter_r);

	/* May the admin's coi_mailbox_root be a folder name below the inbox
	   namespace's prefix, with this hierarchy separator? It must be valid
	   UTF-8 of 1 to 200 bytes without control characters, '*', '%' and
	   empty path elements, and not be INBOX. Returns NULL, or a static
	   text that says what is wrong with it. */
	const char *(*config_mailbox_root_check)(struct coi_bytes root,
						 char separator);
};

typedef const struct coi_core *coi_core_func_t(unsigned int version);

/* Returns the table, or NULL where this core does not speak that version. */
__attribute__((visibility("default"))) coi_core_func_t coi_core;

#ifdef __cplusplus
}
#endif

#endif /* COI_H */
