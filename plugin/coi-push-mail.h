/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_PUSH_MAIL_H
#define COI_PUSH_MAIL_H

/* What a push tells of a mail (MSG-4), read from the mail. */

struct coi_handoff_mail;
struct mail;

/* TRUE if that is the Content-Type of a disposition notification, which raises
   no push (MSG-2). */
bool coi_push_mail_is_mdn(const char *content_type);

/* Text of a header, unfolded, with its encoded words decoded: valid UTF-8 in the data
   stack. NULL if value is. */
const char *coi_push_mail_decode(const char *value);

/* Both fill in what the mail itself says, in the data stack: its header, and its
   body. What can't be read, or isn't there, stays NULL. */
void coi_push_mail_read(struct mail *mail, struct coi_handoff_mail *info);
void coi_push_mail_read_body(struct mail *mail, struct coi_handoff_mail *info);

#endif
