/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_IMAP_H
#define COI_IMAP_H

/* Capabilities of an IMAP session (CAP-1..3). */

struct module;

/* Does nothing in a process that isn't imap. */
void coi_imap_init(struct module *module);
void coi_imap_deinit(void);

#endif
