/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_METADATA_H
#define COI_METADATA_H

/* The configuration entries coi/config/ in the user's server metadata
   (CFG-1..7): how clients read and set them, and how we read them. */

#include "coi.h"
#include "coi-folders.h"
#include "mail-error.h"
#include "mailbox-attribute.h"

struct mail_user;
struct mailbox;
struct mailbox_transaction_context;

/* What GETMETADATA "" calls /private/vendor/vendor.dovecot/coi/config/ */
#define COI_CONFIG_KEY_PREFIX                       \
	MAILBOX_ATTRIBUTE_PREFIX_DOVECOT_PVT_SERVER \
	MAILBOX_ATTRIBUTE_PREFIX_DOVECOT "coi/config/"
#define COI_CONFIG_ENABLED "enabled"
#define COI_CONFIG_ENABLED_KEY COI_CONFIG_KEY_PREFIX COI_CONFIG_ENABLED

/* What a transaction on INBOX asks of its commit. */
struct coi_metadata_changes {
	/* enabled is being set to yes: all COI folders must exist (ENA-1) */
	bool enable;
	/* message-filter is being set to a value that moves mail: the Chats
	   folder must exist (ENA-5) */
	bool filter;
	/* One of the entries was refused: the reason for the client. The
	   commit fails, and nothing is changed. */
	const char *refused;
	enum mail_error refused_code;
	/* What has been done for the folders, in case that the commit fails (ENA-11). */
	enum coi_folder_done contacts_done, chats_done;
};

/* The user's own configuration. */
struct coi_config {
	bool enabled;
	enum coi_filter filter;
};

/* As an entry has it. */
const char *coi_filter_name(enum coi_filter filter);

void coi_metadata_init(void);
void coi_metadata_deinit(void);

/* Reads the user's configuration as it is stored now. INBOX is opened for it
   if it is NULL. Returns 0 if ok; where nothing is stored, COI is disabled.
   Returns -1 if it can't be read, with COI disabled in *config_r; that is
   logged once a process (FIL-10). */
int coi_config_read(struct mail_user *user, struct mailbox *inbox,
		    struct coi_config *config_r);

/* Deliveries leave metadata alone that hang: a reader whose attempt began at
   `start` (coi_handoff_clock()) says that it has failed. */
bool coi_metadata_is_away(void);
void coi_metadata_failed(uint64_t start);

/* Logs that the user's metadata can't be read, once a process whatever comes
   of it. */
void coi_metadata_log_failure(struct mail_user *user, const char *consequence,
			      const char *error);

/* Sets or removes the entry "enabled", with all that a client's doing so would
   bring about. Returns 0 if ok, -1 if error (error_r is for the log). */
int coi_config_set_enabled(struct mail_user *user, bool enabled,
			   const char **error_r);

/* TRUE if the key is one of ours. */
bool coi_metadata_owns(enum mail_attribute_type type_flags, const char *key);
/* Called before the value is stored. One that is refused is replaced, and fails the
   commit. Returns -1 after setting the storage's error, if there is no commit to fail. */
int coi_metadata_set(struct mailbox_transaction_context *t, const char *key,
		     const struct mail_attribute_value *value);

/* TRUE if the key is one of ours, and nothing can be stored for the user: one of the
   changes was refused, and the commit will say so. */
bool coi_metadata_is_refused(struct mailbox_transaction_context *t,
			     enum mail_attribute_type type_flags,
			     const char *key);

/* Makes the folders that the changes need. Called before they are committed.
   Returns -1 after setting the storage's error, if the changes are refused or
   the folders can't be made. */
int coi_metadata_before_commit(struct mailbox_transaction_context *t,
			       struct coi_metadata_changes *changes);
/* Takes back what coi_metadata_before_commit() has made, where it has returned -1, or the
   changes couldn't be stored. The transaction is gone then. */
void coi_metadata_undo(struct mail_user *user,
		       const struct coi_metadata_changes *changes);

#endif
