/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_COMPAT_H
#define COI_COMPAT_H

/* All that differs between the Dovecot versions. No other file asks for a
   version or a feature of it. */

#include "mail-error.h"
#include "coi-config.h"
#include "coi-settings.h"

struct dict;
struct dict_transaction_context;
struct mail_user;
struct mailbox;
struct mailbox_list;

/* Returns 0 if ok, -1 if there is something wrong with them. */
int coi_compat_settings_get(struct mail_user *user,
			    const struct coi_settings **set_r,
			    const char **error_r);
void coi_compat_settings_free(const struct coi_settings **set);
/* When the plugin is unloaded. */
void coi_compat_deinit(void);

/* Opens the dict for the user's server metadata: the admin's own, or else the
   one of our setting. Returns 1 if ok, 0 if neither is configured, -1 if
   error. Opens no file and makes no connection yet. */
int coi_compat_attribute_dict_init(struct mail_user *user, struct dict **dict_r,
				   const char **error_r);

/* The file of a dict that has been opened so, or NULL if it isn't in a file or that
   isn't known. In the data stack. */
const char *
coi_compat_dict_file_path(struct mail_user *user, const struct dict *dict);

/* The same for a dict that hasn't been opened, and may not have to be. */
const char *coi_compat_attribute_dict_file_path(struct mail_user *user);

/* Asked of a user who has no home: TRUE if that file would be there. */
bool coi_compat_dict_lacks_home(struct mail_user *user);

/* TRUE unless the admin has set one for all metadata, which is the one that is used. */
bool coi_compat_dict_is_ours(struct mail_user *user);

/* Called before the first secret is set in a transaction, at that path: a slow
   commit by the dict service logs the first thing that was asked of it. */
void coi_compat_dict_hide_values(struct dict_transaction_context *t,
				 const char *path);

/* TRUE if the admin has given the folder that special use (RFC 6154). */
bool coi_compat_mailbox_has_special_use(struct mailbox *box,
					const char *special_use);

/* The name that a folder has where it is asked for by this one (both vnames): since 2.4.3
   Dovecot brings names into Unicode's NFC, if the admin hasn't told it not to. */
const char *
coi_compat_folder_name(struct mailbox_list *list, const char *vname);

/* TRUE if that is the error of a mail that is larger than any may be. */
bool coi_compat_error_is_size(enum mail_error error);

/* To be called before a mailbox is opened by another form of its name: the client isn't
   told then that the folder has been renamed. */
void coi_compat_mailbox_hide_rename(struct mailbox *box);

/* What makes mailbox_sync() write all of an mbox's flags at once; 2.4 has nothing that does. */
#ifdef COI_HAVE_SETTINGS_GET
#define COI_COMPAT_SYNC_WRITES 0
#else
#define COI_COMPAT_SYNC_WRITES MAILBOX_SYNC_FLAG_FULL_WRITE
#endif

/* Tells the admin which settings give the metadata a place. */
extern const char coi_compat_no_dict_hint[];

#endif
