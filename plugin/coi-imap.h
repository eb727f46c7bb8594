/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_IMAP_H
#define COI_IMAP_H

/* The imap process: capabilities of a session (CAP-1..3), and what other files
   have to know of it. */

struct mail_user;
struct module;

/* Does nothing in a process that isn't imap. */
void coi_imap_init(struct module *module);
void coi_imap_deinit(void);

/* TRUE if this process is imap. */
bool coi_imap_is_here(void);
/* TRUE if the user's session is in the middle of an answer, so that nothing else
   may be sent now. */
bool coi_imap_output_is_busy(struct mail_user *user);
/* TRUE if the user's session is carrying out a FETCH that sets \Seen and may not have
   asked for all of the mail: of a section, or of some octets. */
bool coi_imap_is_fetching_a_piece(struct mail_user *user);
/* TRUE if it is carrying out any command, or reading one. */
bool coi_imap_has_command(struct mail_user *user);

#endif
