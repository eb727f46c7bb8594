/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_CORE_H
#define COI_CORE_H

/* Loads the libraries of the core (coi.h, coi-push.h), which lie in the folder
   "coi" beside the module. They are loaded by hand and not linked, because
   Dovecot ends a process whose mail plugin has a symbol missing, and mail must
   not depend on us. Each is loaded when first needed, because most IMAP
   sessions never need any. */

#include "coi.h"
#include "coi-push.h"

struct event;

/* Its bytes without the NUL, or those of nothing where it is NULL. */
static inline struct coi_bytes coi_bytes_from_str(const char *str)
{
	struct coi_bytes bytes = { str, str == NULL ? 0 : strlen(str) };

	return bytes;
}

/* module_path is the path of our own module. */
void coi_core_init(const char *module_path);
void coi_core_deinit(void);

/* Is the process chrooted to where the libraries aren't? */
bool coi_core_is_shut_out(void);

/* Each returns its table, or NULL where the library can't be loaded; the first
   such call of a process logs why, with event. */
const struct coi_core *coi_core_get(struct event *event);
const struct coi_push *coi_push_get(struct event *event);
const struct coi_seal *coi_seal_get(struct event *event);

#endif
