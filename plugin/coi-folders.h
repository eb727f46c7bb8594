/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_FOLDERS_H
#define COI_FOLDERS_H

/* Names and creation of the COI folders. All names are as the user sees them
   (vnames: UTF-8, with the prefix and separator of the inbox namespace). */

struct mail_user;
struct mailbox;

enum coi_folder_flags {
	/* Subscribe the folder also if it is there already. */
	COI_FOLDER_SUBSCRIBE = 0x01,
	/* Subscribe it if it has to be created. */
	COI_FOLDER_SUBSCRIBE_NEW = 0x02,
	/* It is opened for storing mail only. */
	COI_FOLDER_SAVE_ONLY = 0x04,
};

/* Value of coi/config/mailbox-root (CFG-1). The settings must be usable,
   see coi_user_settings(). */
const char *coi_folder_root(struct mail_user *user);
/* <root>/Chats and <root>/Contacts (ENA-1) */
const char *coi_folder_chats(struct mail_user *user);
const char *coi_folder_contacts(struct mail_user *user);
/* where mail from blocked contacts goes (BLK-3) */
const char *coi_folder_blocked(struct mail_user *user);

/* TRUE if the mailbox is in the namespace of its user's INBOX, or in an alias of it,
   which has the same folders under other names. */
bool coi_folder_is_beside_inbox(struct mailbox *box);

/* TRUE if the mailbox is that folder of its user's, by that name or by the one that
   it has in an alias of the inbox namespace. */
bool coi_folder_is(struct mailbox *box, const char *vname);

/* TRUE while one of the functions below creates or deletes a folder, as opposed to
   the user. */
bool coi_folder_is_creating(struct mail_user *user);

/* FALSE if the user's INBOX has yet to be made, and with it all the rest. Makes
   nothing. Where that can't be told, TRUE. */
bool coi_folder_have_inbox(struct mail_user *user);

/* FALSE if its files aren't there, whatever the list index says. */
bool coi_folder_may_exist(struct mail_user *user, const char *vname);

/* TRUE if the folder, or at least something in its place, is there, and not only
   about to be made by Dovecot when it is first used. Costs a look at the file
   system. */
bool coi_folder_exists(struct mail_user *user, const char *vname);

/* What had to be done for a folder. */
enum coi_folder_done {
	COI_FOLDER_CREATED = 0x01,
	COI_FOLDER_SUBSCRIBED = 0x02,
};

/* Makes sure that the folder exists. Returns 0 if it does, -1 if it can't be
   created; code_r and done_r (either may be NULL) and error_r are for the user and
   internal_error_r for the log. With MAIL_ERROR_PERM and MAIL_ERROR_NOTPOSSIBLE it may
   be that it isn't allowed there, and nothing is wrong. */
int coi_folder_ensure(struct mail_user *user, const char *vname,
		      enum coi_folder_flags flags, enum coi_folder_done *done_r,
		      enum mail_error *code_r, const char **error_r,
		      const char **internal_error_r);

/* Takes back what has been done, unless there is mail in the folder by now. */
void coi_folder_undo(struct mail_user *user, const char *vname,
		     enum coi_folder_done done);

/* Opens the folder, and creates it first where it is missing; flags say
   whether it is then subscribed. Returns 0 and the opened mailbox, -1 if
   error; code_r may be NULL, and is MAIL_ERROR_PERM where an ACL hides the folder. */
int coi_folder_open(struct mail_user *user, const char *vname,
		    enum coi_folder_flags flags, struct mailbox **box_r,
		    enum mail_error *code_r, const char **error_r);

#endif
