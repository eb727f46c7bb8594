/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_LIST_NOTIFY_H
#define COI_LIST_NOTIFY_H

/* Telling clients at once that use NOTIFY (RFC 5465) for folders that aren't
   selected (IDL-1..3). */

struct mail_user;
struct mailbox;
struct mailbox_list;

/* For Dovecot's hook of that name. */
void coi_list_notify_created(struct mailbox_list *list);

/* Called after each I/O callback of the user's, by coi-notify.c. */
void coi_list_notify_after_io(struct mail_user *user);

/* TRUE while a client is being told at once: what can't be opened then isn't to be made. */
bool coi_list_notify_is_looking(void);

/* TRUE if the mailbox is INBOX, opened as NOTIFY has it, and was deleted; and there is a new
   one by now. Then it isn't to be synced. */
bool coi_list_notify_is_replaced(const struct mailbox *box);

/* Called before Dovecot may read the index of the list. */
void coi_list_notify_before_refresh(struct mailbox_list *list);

/* Called after the user's session has ended to watch INBOX. Where two watch a file,
   Dovecot ends both when one does. */
void coi_list_notify_watches_lost(struct mail_user *user);

#endif
