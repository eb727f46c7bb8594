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
 * (3) No function throws, blocks, or allocates memory that the caller must
 *     free. None keeps state, but for address_normalize(), which keeps the
 *     locale that it needs. All may be called from any thread.
 * (4) The core is reached through one exported symbol, coi_core(), found with
 *     dlopen() and dlsym(). Where that fails, the modules carry on without
 *     COI; mail is never lost for it.
 * (5) The table only grows at its end within one COI_CORE_VERSION; any other
 *     change gives it a new number.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define COI_CORE_VERSION 5
#define COI_CORE_SYMBOL "coi_core"

struct coi_bytes {
	const char *data;
	size_t size;
};

/* A header to look for, and what was found: data is NULL if it isn't there. */
struct coi_header {
	struct coi_bytes name;
	struct coi_bytes value;
};

/* What the core needs of a mail's top header block: the value of the first
   header of each name as it stands in the mail, still folded and with its
   comments (PROTOCOL DET-4). */
struct coi_chat_headers {
	struct coi_bytes chat_version;
	struct coi_bytes message_id;
	struct coi_bytes references;
	/* only for the rule that needs them */
	struct coi_bytes content_type;
	struct coi_bytes subject;
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
	/* it is multipart/encrypted, and its Subject is "[...]" or "..." (DET-7,
	   CLI-3); not among the rules unless the admin wants it */
	COI_CHAT_RULE_ENCRYPTED,
};

/* A set of rules has 1 << rule for each. */
#define COI_CHAT_RULES_DEFAULT                                          \
	(1U << COI_CHAT_RULE_VERSION | 1U << COI_CHAT_RULE_MESSAGE_ID | \
	 1U << COI_CHAT_RULE_REFERENCES)

/* Values of the entry coi/config/message-filter (CFG-5). */
enum coi_filter {
	/* chat mail stays where it would have gone; the default */
	COI_FILTER_NONE = 0,
	/* chat mail is stored in the Chats folder in the first place */
	COI_FILTER_ACTIVE,
	/* chat mail moves to the Chats folder once it is \Seen */
	COI_FILTER_SEEN,
};

/* SHA3-256 of a normalised address (BLK-2). */
#define COI_CONTACT_HASH_SIZE 32

/* What matters of one COI-From-Hash of one contact mail (BLK-1). */
struct coi_contact {
	unsigned char hash[COI_CONTACT_HASH_SIZE];
	/* the mail's Date, in seconds since 1970; 0 if it has none */
	int64_t date;
	uint32_t uid;
	/* it has a COI-Blocked header */
	bool blocked;
};

/* The state of the Contacts folder that an index was made from. Mail there is
   never changed and UIDs only grow, so the first three tell whether an index is
   still good. */
struct coi_contacts_state {
	uint32_t uidvalidity;
	uint32_t uidnext;
	uint32_t messages;
	/* The file that Dovecot logs changes of the folder to, as it was before
	   the folder was opened: as long as it is still the same, so are they.
	   All 0 where that isn't known. The change time is in nanoseconds since
	   1970. */
	uint64_t log_inode;
	uint64_t log_size;
	int64_t log_changed;
};

/* Where an index is: in memory, in a file, or elsewhere. */
struct coi_contacts_source {
	/* Reads size bytes from offset on, which are within the index. Returns
	   false where they can't be had. */
	bool (*read)(void *context, size_t offset, void *buf, size_t size);
	void *context;
	/* of the whole index, in bytes */
	size_t size;
};

struct coi_core {
	/* COI_CORE_VERSION of the core that filled in this table */
	unsigned int version;

	/* Is it a chat mail, and by which of these rules? DET-1..4 */
	enum coi_chat_rule (*chat_detect)(const struct coi_chat_headers *hdr,
					  unsigned int rules);

	/* Short lower-case name of a rule for logs, events and settings:
	   "none", "chat-version", "message-id", "references", "encrypted". */
	const char *(*chat_rule_name)(enum coi_chat_rule rule);

	/* The group id of a chat mail (DET-5), from the Message-ID or else
	   from the first References id. Returns true and a piece of the
	   caller's own header bytes, or false where there is none. */
	bool (*chat_group_id)(const struct coi_chat_headers *hdr,
			      struct coi_bytes *group_id_r);

	/* The admin's coi_chat_rules: names of rules, separated by blanks or
	   commas. Returns NULL, or a static text that says what is wrong. */
	const char *(*config_chat_rules_parse)(struct coi_bytes text,
					       unsigned int *rules_r);

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

	/* Normalises an address for its hash (BLK-2): local part without
	   quotes and quoted-pair backslashes, '@', domain without a dot at its
	   end; all in lower case (Unicode's, where it is UTF-8). Returns the
	   size written to buf, or 0 where there is no address, it isn't valid
	   UTF-8, or it doesn't fit into buf; 1000 bytes fit any address of RFC
	   5321 and 6531. */
	size_t (*address_normalize)(struct coi_bytes local_part,
				    struct coi_bytes domain, char *buf,
				    size_t buf_size);

	/* Value of a COI-From-Hash header: 64 hexadecimal digits of either
	   case, with white space around them. Returns false for anything
	   else. */
	bool (*contact_hash_parse)(struct coi_bytes value,
				   unsigned char hash_r[COI_CONTACT_HASH_SIZE]);

	/* The index of the contacts, docs/contacts-index.md. Size in bytes of
	   one with that many contacts; 0 if there are too many (2^24). */
	size_t (*contacts_index_size)(size_t count);
	/* Writes one into buf, which is that large. Sorts the contacts. */
	void (*contacts_index_write)(const struct coi_contacts_state *state,
				     struct coi_contact *contacts, size_t count,
				     void *buf);
	/* Reads the head of one. Returns false where it isn't one of ours, or
	   is damaged or cut off, or can't be read. */
	bool (*contacts_index_read)(const struct coi_contacts_source *index,
				    struct coi_contacts_state *state_r,
				    size_t *count_r);
	/* Contact number n < count. Returns false, and no contact, where it
	   can't be read. */
	bool (*contacts_index_get)(const struct coi_contacts_source *index,
				   size_t n, struct coi_contact *contact_r);
	/* Is the address with that hash blocked? Of several contacts with one
	   hash the newest date decides, then the higher UID (BLK-4). Reads
	   48 bytes at a time, for ten thousand contacts some fifteen times.
	   Returns false where something can't be read. */
	bool (*contacts_index_is_blocked)(
		const struct coi_contacts_source *index,
		const unsigned char hash[COI_CONTACT_HASH_SIZE]);

	/* Finds the first header of each name, in either case, in the top
	   header block that these bytes of a mail begin with; of a name that
	   is there twice the first two, and so on. The values are
	   pieces of them, without the white space before, still folded.
	   Returns false if that can't be told because the block doesn't end
	   within the bytes; the values mean nothing then. */
	bool (*headers_find)(struct coi_bytes mail, struct coi_header *headers,
			     size_t count);

	/* Finds the last address in angle brackets in the value of a header
	   like From, but not in quotes or a comment unless these never end.
	   Where there is no such bracket, all of the value is taken for one.
	   The parts are pieces of it. Returns false, and no parts, where there
	   is none. */
	bool (*address_find_last)(struct coi_bytes value,
				  struct coi_bytes *local_part_r,
				  struct coi_bytes *domain_r);

	/* Finds the first msg-id in the value of a header like Message-ID, with
	   its angle brackets: a piece of it, in no comment and not in quotes.
	   What is within the brackets may be anything; a '>' in quotes ends
	   nothing unless these never end. Returns false where there is none. */
	bool (*message_id_find)(struct coi_bytes value,
				struct coi_bytes *message_id_r);
};

typedef const struct coi_core *coi_core_func_t(unsigned int version);

/* Returns the table, or NULL where this core does not speak that version. */
__attribute__((visibility("default"))) coi_core_func_t coi_core;

#ifdef __cplusplus
}
#endif

#endif /* COI_H */
