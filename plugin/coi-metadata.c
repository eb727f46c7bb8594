/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/*
 * The entries are internal attributes of rank OVERRIDE, with VALIDATED:
 *  - they are stored where the admin keeps all metadata (or, where there is no
 *    such place, in the dict of our own setting), so that doveadm, dsync and
 *    every other node see them;
 *  - VALIDATED makes them work also with imap_metadata = no, and OVERRIDE,
 *    unlike DEFAULT, keeps lib-storage from refusing the dict in that case;
 *  - one registration with CHILDREN owns the whole coi/config/ tree, so that
 *    no unknown entry can be put there.
 */

#include "lib.h"
#include "array.h"
#include "dict.h"
#include "istream.h"
#include "mail-storage-private.h"
#include "coi-core.h"
#include "coi-dict.h"
#include "coi-folders.h"
#include "coi-handoff.h"
#include "coi-mailbox.h"
#include "coi-user.h"
#include "coi-metadata.h"

#define COI_CONFIG_MAILBOX_ROOT "mailbox-root"
#define COI_CONFIG_ENABLED_YES "yes"
#define COI_CONFIG_MESSAGE_FILTER "message-filter"

/* No valid value is longer. Longer ones aren't even read. */
#define COI_CONFIG_VALUE_MAX_SIZE 16

/* A dict that took so long to fail hangs, and isn't asked for some time by deliveries,
   nor for mail that is read or stored: no mail needs it. One that fails at once may do
   so for one user only. */
#define COI_METADATA_SLOW_MSECS (COI_DICT_TIMEOUT_MSECS - 1000)
#define COI_METADATA_AWAY_MSECS 30000

static uint64_t metadata_away_until;

bool coi_metadata_is_away(void)
{
	return metadata_away_until != 0 &&
		coi_handoff_clock() < metadata_away_until;
}

void coi_metadata_failed(uint64_t start)
{
	uint64_t now = coi_handoff_clock();

	if (now - start > COI_METADATA_SLOW_MSECS)
		metadata_away_until = now + COI_METADATA_AWAY_MSECS;
}

const char *coi_filter_name(enum coi_filter filter)
{
	switch (filter) {
	case COI_FILTER_NONE:
		return "none";
	case COI_FILTER_ACTIVE:
		return "active";
	case COI_FILTER_SEEN:
		return "seen";
	}
	i_unreached();
}

static const char *coi_config_entry_name(const char *key)
{
	size_t len = strlen(COI_CONFIG_KEY_PREFIX);

	i_assert(strncmp(key, COI_CONFIG_KEY_PREFIX, len) == 0);
	return key + len;
}

/* Looks up a stored value. Returns 1 if found, 0 if not, -1 if error. Unlike
   mailbox_attribute_get(), it logs nothing. */
static int coi_config_lookup(struct mail_user *user, struct dict *dict,
			     struct mailbox *inbox, const char *name,
			     const char **value_r, const char **error_r)
{
	const char *path, *key = t_strconcat(COI_CONFIG_KEY_PREFIX, name, NULL);

	if (coi_user_dict_path(user, inbox, key, &path, error_r) < 0)
		return -1;
	return coi_dict_lookup(user, dict, path, value_r, error_r);
}

static int
coi_config_read_from(struct mail_user *user, struct mailbox *inbox,
		     struct coi_config *config_r, const char **error_r)
{
	const struct coi_core *core;
	struct dict *dict;
	const char *value;
	int ret;

	ret = coi_user_get_dict(user, &dict, error_r);
	if (ret <= 0)
		return ret;
	if (!coi_dict_may_have(user, dict, COI_CONFIG_KEY_PREFIX))
		return 0;
	/* The entries hang on the GUID of INBOX. Where INBOX hasn't been made
	   yet, there are none, and it is not for us to make it. */
	if (inbox == NULL && !coi_folder_have_inbox(user))
		return 0;
	ret = coi_config_lookup(user, dict, inbox, COI_CONFIG_ENABLED, &value,
				error_r);
	if (ret <= 0)
		return ret;
	core = coi_core_get(user->event);
	if (core == NULL ||
	    !core->config_enabled_parse(coi_bytes_from_str(value)))
		return 0;
	config_r->enabled = TRUE;

	ret = coi_config_lookup(user, dict, inbox, COI_CONFIG_MESSAGE_FILTER,
				&value, error_r);
	if (ret > 0) {
		/* leaves the default where the value isn't valid (CFG-6) */
		(void)core->config_filter_parse(coi_bytes_from_str(value),
						&config_r->filter);
	}
	return ret < 0 ? -1 : 0;
}

void coi_metadata_log_failure(struct mail_user *user, const char *consequence,
			      const char *error)
{
	static bool logged = FALSE;

	if (!logged) {
		logged = TRUE;
		e_error(user->event,
			"coi: Can't read the user's metadata, so %s: %s",
			consequence, error);
	}
}

int coi_config_read(struct mail_user *user, struct mailbox *inbox,
		    struct coi_config *config_r)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	const char *error;
	uint64_t start;
	int ret;

	i_zero(config_r);
	if (coi_dict_is_missing(user))
		return 0;
	/* logs why, if there is something to log */
	if (!coi_user_is_offered(user) ||
	    ((cuser->delivering || cuser->waiting) && coi_metadata_is_away()))
		return -1;

	start = coi_handoff_clock();
	ret = coi_config_read_from(user, inbox, config_r, &error);
	if (ret < 0) {
		i_zero(config_r);
		coi_metadata_failed(start);
		coi_metadata_log_failure(user, "COI counts as disabled", error);
	}
	return ret;
}

int coi_config_set_enabled(struct mail_user *user, bool enabled,
			   const char **error_r)
{
	struct mail_attribute_value value;
	struct mailbox_transaction_context *t;
	struct mailbox *inbox;
	int ret;

	i_zero(&value);
	if (enabled)
		value.value = COI_CONFIG_ENABLED_YES;

	inbox = coi_user_inbox_alloc(user);
	ret = mailbox_open(inbox);
	if (ret == 0) {
		t = mailbox_transaction_begin(
			inbox, MAILBOX_TRANSACTION_FLAG_EXTERNAL, __func__);
		ret = mailbox_attribute_set(t, MAIL_ATTRIBUTE_TYPE_PRIVATE,
					    COI_CONFIG_ENABLED_KEY, &value);
		if (ret < 0)
			mailbox_transaction_rollback(&t);
		else
			ret = mailbox_transaction_commit(&t);
	}
	if (ret < 0)
		*error_r =
			t_strdup(mailbox_get_last_internal_error(inbox, NULL));
	mailbox_free(&inbox);
	return ret;
}

static int coi_attribute_get(struct mailbox *box, const char *key,
			     struct mail_attribute_value *value_r)
{
	struct mail_user *user = box->storage->user;

	if (!user->dsyncing && coi_user_refuse_homeless(user)) {
		mail_storage_set_error(box->storage, MAIL_ERROR_NOTPOSSIBLE,
				       COI_USER_ERROR_NO_HOME);
		return -1;
	}
	if (!coi_user_is_offered(user))
		return 0;
	if (strcmp(coi_config_entry_name(key), COI_CONFIG_MAILBOX_ROOT) != 0) {
		/* what is stored */
		return 0;
	}
	value_r->value = coi_folder_root(user);
	return 1;
}

static int coi_attribute_value_read(struct mailbox *box,
				    const struct mail_attribute_value *value,
				    const char **str_r)
{
	uoff_t size;
	int ret;

	if (value->value_stream != NULL) {
		ret = i_stream_get_size(value->value_stream, TRUE, &size);
		if (ret > 0 && size > COI_CONFIG_VALUE_MAX_SIZE) {
			*str_r = NULL;
			return 0;
		}
	}
	*str_r = NULL;
	return mailbox_attribute_value_to_string(box->storage, value, str_r);
}

/* Checks a value, and notes what its being set brings about. Returns the reason
   if it is refused, or NULL. */
static const char *
coi_attribute_check(struct mail_user *user, const char *name, const char *value,
		    struct coi_metadata_changes *changes)
{
	const struct coi_core *core = coi_core_get(user->event);
	struct coi_bytes bytes = coi_bytes_from_str(value);
	enum coi_filter filter;

	if (core == NULL) {
		changes->refused_code = MAIL_ERROR_TEMP;
		return "COI is not available at the moment";
	}
	if (strcmp(name, COI_CONFIG_ENABLED) == 0) {
		if (!core->config_enabled_parse(bytes)) {
			return "coi/config/enabled can only be set to "
			       "\"yes\" or NIL";
		}
		changes->enable = TRUE;
	} else {
		if (!core->config_filter_parse(bytes, &filter)) {
			return "coi/config/message-filter can only be set to "
			       "\"none\", \"active\", \"seen\" or NIL";
		}
		if (filter != COI_FILTER_NONE)
			changes->filter = TRUE;
	}
	return NULL;
}

static const char *
coi_attribute_get_refusal(struct mailbox *box, const char *name,
			  const struct mail_attribute_value *value,
			  struct coi_metadata_changes *changes)
{
	struct mail_user *user = box->storage->user;
	const char *str;

	if (!coi_user_is_offered(user)) {
		changes->refused_code = MAIL_ERROR_NOTPOSSIBLE;
		return coi_user_refuse_homeless(user) ?
			COI_USER_ERROR_NO_HOME :
			"COI is not available on this server";
	}
	if (strcmp(name, COI_CONFIG_MAILBOX_ROOT) == 0)
		return "coi/config/mailbox-root is set by the server";
	if (strcmp(name, COI_CONFIG_ENABLED) != 0 &&
	    strcmp(name, COI_CONFIG_MESSAGE_FILTER) != 0)
		return "There is no such coi/config entry";
	if (value->value == NULL && value->value_stream == NULL)
		return NULL;

	if (coi_attribute_value_read(box, value, &str) < 0)
		str = NULL;
	return coi_attribute_check(user, name, str, changes);
}

/* A value that is refused fails the commit and not this call: after a failure
   here, cmd_setmetadata() never asks for the literals behind it, and a client
   that waits to be asked would wait for ever. Until then an unset takes its
   place, which needs no memory however large the value is. */
int coi_metadata_set(struct mailbox_transaction_context *t, const char *key,
		     const struct mail_attribute_value *value)
{
	struct coi_metadata_changes *changes;
	struct mail_attribute_value *refused_value;
	const char *refused;

	if (COI_USER_CONTEXT(t->box->storage->user) == NULL) {
		mail_storage_set_error(t->box->storage, MAIL_ERROR_NOTPOSSIBLE,
				       "COI is not available for this user");
		return -1;
	}
	/* What is stored on another server is copied as it is, valid or not
	   (CFG-6): to refuse it would fail the commit with which the mails of
	   INBOX come. */
	if (t->box->storage->user->dsyncing)
		return 0;
	changes = &coi_transaction_get(t)->metadata;
	changes->refused_code = MAIL_ERROR_PARAMS;
	refused = coi_attribute_get_refusal(t->box, coi_config_entry_name(key),
					    value, changes);
	if (refused != NULL) {
		changes->refused = refused;
		refused_value = (struct mail_attribute_value *)value;
		refused_value->value = NULL;
		refused_value->value_stream = NULL;
	}
	return 0;
}

/* Lists the entries that exist below key_prefix (CFG-7). */
static int coi_attribute_iter(struct mailbox *box, const char *key_prefix,
			      pool_t pool, ARRAY_TYPE(const_string) *keys)
{
	static const char *const names[] = {
		COI_CONFIG_MAILBOX_ROOT,
		COI_CONFIG_ENABLED,
		COI_CONFIG_MESSAGE_FILTER,
	};
	struct mail_user *user = box->storage->user;
	struct dict *dict;
	const char *name, *value, *error;
	int ret;

	/* lib-storage asks this of the INBOX of any namespace */
	if (!box->inbox_user || !coi_user_is_offered(user) ||
	    coi_user_get_dict(user, &dict, &error) <= 0)
		return 0;
	for (unsigned int i = 0; i < N_ELEMENTS(names); i++) {
		if (strncmp(names[i], key_prefix, strlen(key_prefix)) != 0)
			continue;
		if (strcmp(names[i], COI_CONFIG_MAILBOX_ROOT) != 0) {
			ret = coi_config_lookup(user, dict, box, names[i],
						&value, &error);
			if (ret < 0) {
				mail_storage_set_critical(
					box->storage,
					"coi: Can't read the user's metadata: "
					"%s",
					error);
				return -1;
			}
			if (ret == 0)
				continue;
		}
		name = p_strdup(pool, names[i]);
		array_push_back(keys, &name);
	}
	return 0;
}

static const struct mailbox_attribute_internal coi_config_attribute = {
	.type = MAIL_ATTRIBUTE_TYPE_PRIVATE,
	.key = COI_CONFIG_KEY_PREFIX,
	.rank = MAIL_ATTRIBUTE_INTERNAL_RANK_OVERRIDE,
	.flags = MAIL_ATTRIBUTE_INTERNAL_FLAG_CHILDREN |
		MAIL_ATTRIBUTE_INTERNAL_FLAG_VALIDATED,
	.get = coi_attribute_get,
	.set = coi_metadata_set,
	.iter = coi_attribute_iter,
};

bool coi_metadata_owns(enum mail_attribute_type type_flags, const char *key)
{
	return (type_flags & MAIL_ATTRIBUTE_TYPE_MASK) ==
		MAIL_ATTRIBUTE_TYPE_PRIVATE &&
		strncmp(key, COI_CONFIG_KEY_PREFIX,
			strlen(COI_CONFIG_KEY_PREFIX)) == 0;
}

bool coi_metadata_is_refused(struct mailbox_transaction_context *t,
			     enum mail_attribute_type type_flags,
			     const char *key)
{
	struct mail_user *user = t->box->storage->user;

	return !user->dsyncing && coi_metadata_owns(type_flags, key) &&
		coi_transaction_get(t)->metadata.refused != NULL &&
		!coi_user_is_offered(user);
}

int coi_metadata_before_commit(struct mailbox_transaction_context *t,
			       struct coi_metadata_changes *changes)
{
	struct mail_user *user = t->box->storage->user;
	enum coi_folder_flags chats_flags = COI_FOLDER_SUBSCRIBE_NEW;
	struct coi_config config;
	const char *error, *internal_error;
	enum mail_error code;
	int ret = 0;

	if (changes->refused != NULL) {
		mail_storage_set_error(t->box->storage, changes->refused_code,
				       changes->refused);
		return -1;
	}
	/* dsync brings the folders itself */
	if ((!changes->enable && !changes->filter) || user->dsyncing)
		return 0;
	if (changes->enable) {
		/* A client may say "yes" again and again. It is only the first
		   one that subscribes a folder that the user has. */
		if (coi_config_read(user, t->box, &config) == 0 &&
		    !config.enabled)
			chats_flags |= COI_FOLDER_SUBSCRIBE;
		ret = coi_folder_ensure(user, coi_folder_contacts(user), 0,
					&changes->contacts_done, &code, &error,
					&internal_error);
	}
	if (ret == 0) {
		ret = coi_folder_ensure(user, coi_folder_chats(user),
					chats_flags, &changes->chats_done,
					&code, &error, &internal_error);
	}
	if (ret < 0) {
		/* by an ACL, a limit of folders, or in a virtual namespace, that is
		   meant; but the codes are also those of a wrong mode */
		if (code == MAIL_ERROR_PERM || code == MAIL_ERROR_LIMIT ||
		    code == MAIL_ERROR_NOTPOSSIBLE) {
			e_info(user->event,
			       "coi: Can't create the COI folders: %s",
			       internal_error);
		} else {
			e_error(user->event,
				"coi: Can't create the COI folders: %s",
				internal_error);
		}
		mail_storage_set_error(
			t->box->storage, code,
			t_strdup_printf("Can't create the COI folders: %s",
					error));
	}
	return ret;
}

void coi_metadata_undo(struct mail_user *user,
		       const struct coi_metadata_changes *changes)
{
	if (changes->contacts_done != 0) {
		coi_folder_undo(user, coi_folder_contacts(user),
				changes->contacts_done);
	}
	if (changes->chats_done != 0) {
		coi_folder_undo(user, coi_folder_chats(user),
				changes->chats_done);
	}
}

void coi_metadata_init(void)
{
	mailbox_attribute_register_internal(&coi_config_attribute);
}

void coi_metadata_deinit(void)
{
	mailbox_attribute_unregister_internal(&coi_config_attribute);
}
