/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_DICT_H
#define COI_DICT_H

/* Reads from the dict with the user's server metadata. Another process serves it in
   most large installations, and waits for a database; Dovecot would have a
   delivery wait for half a minute, and we don't. Else it is a file, and Dovecot would
   read it however large the user has made it (FIL-10, MSG-11).

   A file is read as a whole whatever is asked for, and each question takes another
   look at it. So a delivery asks once, for all that we may need. */

#include "dict.h"

struct mail_user;
struct mailbox;

/* How long a delivery waits for the dict, and who reads a chat or stores a mail. */
#define COI_DICT_TIMEOUT_MSECS 5000
/* What fails within that time is asked once more. */
#define COI_DICT_QUICK_MSECS 1000
/* How much of a file a delivery reads: a few times of it is what that takes. */
#define COI_DICT_FILE_MAX_SIZE ((off_t)16 * 1024 * 1024)

/* TRUE for Dovecot's driver that keeps all in one file. */
bool coi_dict_is_file(const struct dict *dict);

/* TRUE in a delivery if it is certain that there is no dict, because nothing has been
   stored yet. That is so for most users of most servers, and then it needn't be
   opened. */
bool coi_dict_is_missing(struct mail_user *user);

/* FALSE if it is certain, and cheap to find out, that the dict has no such key for any
   mailbox. prefix is COI_CONFIG_KEY_PREFIX or COI_SUBSCRIPTIONS_KEY_PREFIX. */
bool coi_dict_may_have(struct mail_user *user, struct dict *dict,
		       const char *prefix);

/* As dict_lookup(), for a dict of coi_user_get_dict() and a key with
   COI_CONFIG_KEY_PREFIX. Where the dict doesn't answer in time, it is
   closed, and so can't be used any more. One that has failed, twice if it does so at
   once, isn't asked again by the same delivery, which it may hold up. The value is
   good for as long as the data stack's frame, and the delivery. */
int coi_dict_lookup(struct mail_user *user, struct dict *dict, const char *path,
		    const char **value_r, const char **error_r);

typedef void
coi_dict_list_callback_t(const char *path, const char *value, void *context);
/* Calls back for what is below the path, and waits for all of it as coi_dict_lookup()
   does. max_rows may be more than the dict heeds. Returns 0 if ok, or -1 (and error_r),
   after some may have been listed. */
int coi_dict_list(struct mail_user *user, struct dict *dict, const char *path,
		  enum dict_iterate_flags flags, unsigned int max_rows,
		  coi_dict_list_callback_t *callback, void *context,
		  const char **error_r);

/* Called before anything else is done with the dict that may take long; inbox may be
   NULL. Returns 0 if the dict answers, or if it needn't be asked; -1 as
   coi_dict_lookup(), or if it is too large for a delivery. */
int coi_dict_check(struct mail_user *user, struct dict *dict,
		   struct mailbox *inbox, const char **error_r);

/* Called before a secret is stored: in a home that others may look into they mustn't
   read it. A dict of Dovecot's own is the admin's affair. */
void coi_dict_keep_private(struct mail_user *user, struct dict *dict);

#endif
