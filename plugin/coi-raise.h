/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_RAISE_H
#define COI_RAISE_H

/* Raises pushes: when a mail has been stored, it is handed to coi-push with the
   user's subscriptions that want it (MSG-1, MSG-2). */

struct coi_raise;
struct event;
struct mail;
struct mail_save_context;
struct mail_transaction_commit_changes;
struct mail_user;
struct mailbox;

/* A delivery to the user begins and ends. It may be stored in several folders,
   and raises one push: for INBOX or the Chats folder, if it is in there, else
   for the first one. What is stored after the end, by Dovecot itself, raises
   it, too, if nothing was before. src_mail must stay until then. */
void coi_raise_delivery_begin(struct mail_user *user, struct event *event,
			      struct mail *src_mail);
void coi_raise_delivery_end(struct mail_user *user);
/* It goes to Blocked, and raises no push. */
void coi_raise_delivery_cancel(struct mail_user *user);

/* TRUE if a mail, chat or not, that is stored now may raise a push: then it
   needs a UID. */
bool coi_raise_wants_uid(struct mailbox *box, bool chat);
/* TRUE if the mail being saved has $Chat. */
bool coi_raise_is_chat(struct mail_save_context *ctx);
/* TRUE if the mail that is stored isn't the one that came: Sieve stores what a
   script has made of it (editheader, filter). */
bool coi_raise_is_edited(struct mailbox *box, const struct mail *mail);
/* Mails were stored by the delivery. */
void coi_raise_delivered(struct mailbox *box, bool chat, bool edited,
			 const struct mail_transaction_commit_changes *changes);
/* Mails were stored by other means, and not moved. Raises pushes for those that
   are new to the user: neither \Seen nor \Draft. */
void coi_raise_appended(struct mailbox *box,
			const struct mail_transaction_commit_changes *changes);

#endif
