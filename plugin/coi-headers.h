/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_HEADERS_H
#define COI_HEADERS_H

/* Headers of a mail that is being delivered, without Dovecot's parser: that
   would go through the header for us, and again when the mail is stored. */

/* Of a normalised address. */
#define COI_ADDRESS_MAX_SIZE 1000

struct coi_bytes;
struct coi_core;
struct mail;
struct message_address;

/* Finds the first header of each name in the mail's top header block (DET-4), and of
   a name that is there twice, one behind the other, the first two. names ends with
   NULL; values_r has as many elements, which are strings, still folded, in the data
   stack or of the mail, or their data is NULL where there is no such header. A header
   that can't be read is one that isn't there: whatever is wrong with the mail,
   delivering it will tell. Without the core, Dovecot's parser is used. */
void coi_headers_find(const struct coi_core *core, struct mail *mail,
		      const char *const names[], struct coi_bytes values_r[]);

/* All headers of a name; ends with NULL. Of the mail, in which Dovecot's parser looks
   for them. Returns NULL if there is none, or they can't be read. */
const char *const *coi_headers_find_all(struct mail *mail, const char *name);

/* The first address in a header like From, of a group or not, in the data stack;
   NULL if there is none. It has a mailbox and a domain. */
const struct message_address *coi_headers_first_address(struct coi_bytes value);
/* Likewise, for those who want to have all that are behind it, too. */
const struct message_address *coi_headers_all_addresses(struct coi_bytes value);
/* The one behind it. */
const struct message_address *
coi_headers_next_address(const struct message_address *addr);
/* The first name in such a header, of an address or of something that is none, as
   in "Mail Delivery System <MAILER-DAEMON>", still encoded; NULL if there is none. */
const char *coi_headers_first_name(struct coi_bytes value);

#endif
