/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_DELIVER_H
#define COI_DELIVER_H

/* Delivery by LMTP and LDA (FIL-1..10, DET-6): which mail is chat, where it
   goes, and $Chat on it. */

struct mail_user;

/* Does nothing in a process that doesn't deliver mail. */
void coi_deliver_init(void);
void coi_deliver_deinit(void);

/* Called for each user that is ours. */
void coi_deliver_user_created(struct mail_user *user);

/* TRUE if it is now another user's turn to get the mail that this one has got. */
bool coi_deliver_hides_chat(struct mail_user *user);

#endif
