/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_CONTACTS_H
#define COI_CONTACTS_H

/* Blocked contacts (BLK-1..5): the mails in the Contacts folder, and the index
   of them that makes a delivery's question cheap (docs/contacts-index.md). */

#include "coi.h"

struct mail_user;

/* Is one of the senders in the values of From headers blocked? from ends with NULL;
   64 KB and 1000 addresses of it are looked at, and the last of each. Brings the
   index up to date first. Returns 1 if blocked, 0 if not, -1 if error. */
int coi_contacts_is_blocked(struct mail_user *user, const char *const *from,
			    const char **error_r);

#endif
