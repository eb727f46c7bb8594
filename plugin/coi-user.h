/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_USER_H
#define COI_USER_H

/* What the plugin keeps for a mail user. It knows the admin's settings and
   nothing of the user's own: those are read anew each time they count
   (coi-metadata.h), so that no process acts on an old value. */

#include "module-context.h"
#include "mail-user.h"

struct dict;
struct coi_dict_entries;
struct coi_raise;
struct coi_seen_later;
struct coi_settings;

struct coi_user {
	union mail_user_module_context module_ctx;

	/* NULL until coi_user_settings() has read them */
	const struct coi_settings *set;
	/* They are good for this user's namespaces. */
	bool set_checked;
	bool set_failed;
	/* for coi_user_lacks_home() and coi_user_refuse_homeless() */
	bool home_checked, lacks_home, refusal_logged;
	/* coi_chat_rules, for the core's chat_detect() */
	unsigned int chat_rules;

	/* coi-notify.c has its callback in the user's I/O loop context. */
	bool notify_hooked;
	/* We are creating a COI folder ourselves, or taking that back. */
	bool creating_folder;
	/* A delivery to this user is going on. INBOX then stays what it is:
	   whether it is there (if it is) and its GUID are asked once. */
	bool delivering;
	/* A chat has been read, or mail stored that may have to be pushed: the session
	   is to go on soon, whatever comes of it. */
	bool waiting;
	/* Its metadata dict has answered, or isn't too large; and what it has, if
	   it is a file (coi-dict.c). */
	bool dict_checked, dict_looked_for, dict_is_missing;
	/* or how it has failed, if another process serves it */
	const char *dict_error;
	const struct coi_dict_entries *dict_entries;
	bool have_inbox;
	guid_128_t inbox_guid;
	/* The mail being delivered gets $Chat wherever it is stored. */
	bool delivering_chat;
	/* The push of that delivery; NULL where the admin wants none. */
	struct coi_raise *raise;
	/* What is to be moved to Chats later; NULL if there was nothing yet. */
	struct coi_seen_later *seen_later;
};

extern MODULE_CONTEXT_DEFINE(coi_user_module, &mail_user_module_register);

#define COI_USER_CONTEXT(obj) MODULE_CONTEXT(obj, coi_user_module)

void coi_mail_user_created(struct mail_user *user);

/* Returns the admin's settings, or NULL where coi_user_is_excluded(), or where they can't
   be used. That is logged once a process, and the user's mail works as without the plugin.
   Returns NULL also for a user that the plugin doesn't handle. */
const struct coi_settings *coi_user_settings(struct mail_user *user);

/* TRUE if the admin wants no COI for the user. Then all is as without the plugin. */
bool coi_user_is_excluded(struct mail_user *user);

/* The namespace that INBOX is in: its own one, not an alias. */
struct mail_namespace *coi_user_inbox_namespace(struct mail_user *user);
/* Where Dovecot looks for INBOX itself: in an alias, if one comes first. For 2.3 it is
   another maildir there, and what the other one's name says isn't to be made. */
struct mailbox_list *coi_user_inbox_list(struct mail_user *user);
/* INBOX, whatever the user's rights to it. To be freed by the caller. */
struct mailbox *coi_user_inbox_alloc(struct mail_user *user);

/* Where the dict has an entry of the server metadata: they hang on the GUID of
   INBOX. Returns -1 (and error_r) if that can't be read. inbox may be NULL. */
int coi_user_dict_path(struct mail_user *user, struct mailbox *inbox,
		       const char *key, const char **path_r,
		       const char **error_r);

/* The dict that holds the user's server metadata: the one that the admin has
   given Dovecot, or else the one that our own setting names. The dict belongs
   to the user; lib-storage uses it from then on as well. Returns 1 if there
   is one, 0 if none is configured, -1 (and error_r) if it can't be set up. */
int coi_user_get_dict(struct mail_user *user, struct dict **dict_r,
		      const char **error_r);

/* TRUE if the user has no home, and that is where the dict would be. There is nothing
   wrong with that: such a user just can't have COI. */
bool coi_user_lacks_home(struct mail_user *user);

/* The same where the user asks for COI, which is then to be refused with
   COI_USER_ERROR_NO_HOME; the log has once a session why. */
bool coi_user_refuse_homeless(struct mail_user *user);
#define COI_USER_ERROR_NO_HOME "The user has no home directory to keep this in"

/* TRUE if the user can be offered COI: settings are good and there is a place
   for the metadata. Logs once a process why not, unless the user lacks a home. */
bool coi_user_is_offered(struct mail_user *user);

#endif
