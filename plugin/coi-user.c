/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "dict.h"
#include "imap-arg.h"
#include "mail-storage-private.h"
#include "mail-namespace.h"
#include "coi-compat.h"
#include "coi-core.h"
#include "coi-deliver.h"
#include "coi-folders.h"
#include "coi-seen.h"
#include "coi-user.h"

#define COI_USER_NO_HOME "The user has no home"

struct coi_user_module coi_user_module =
	MODULE_CONTEXT_INIT(&mail_user_module_register);

struct mail_namespace *coi_user_inbox_namespace(struct mail_user *user)
{
	struct mail_namespace *ns = mail_namespace_find_inbox(user->namespaces);

	/* An alias whose prefix is shorter comes first. */
	return ns->alias_for != NULL ? ns->alias_for : ns;
}

struct mailbox_list *coi_user_inbox_list(struct mail_user *user)
{
	return mail_namespace_find_inbox(user->namespaces)->list;
}

struct mailbox *coi_user_inbox_alloc(struct mail_user *user)
{
	/* By that flag the server's entries are those of an alias, too: see
	   coi_mailbox_allocated(). */
	return mailbox_alloc(coi_user_inbox_list(user), "INBOX",
			     MAILBOX_FLAG_IGNORE_ACLS |
				     MAILBOX_FLAG_ATTRIBUTE_SESSION);
}

/* Of a mailbox that isn't open, Dovecot asks the list index. Where that can't be read
   (it is damaged, or another process holds its lock for too long), 2.3 takes this for
   a success without a GUID, for which mailbox_get_metadata() ends the process. An open
   mailbox has its own. */
static int
inbox_get_guid(struct mailbox *inbox, struct mailbox_metadata *metadata_r)
{
	i_zero(metadata_r);
	/* 2.4 says 1 where it was in the list index. */
	if (inbox->v.get_metadata(inbox, MAILBOX_METADATA_GUID, metadata_r) >=
		    0 &&
	    !guid_128_is_empty(metadata_r->guid))
		return 0;
	if (mailbox_open(inbox) < 0)
		return -1;
	return mailbox_get_metadata(inbox, MAILBOX_METADATA_GUID, metadata_r);
}

static int user_read_inbox_guid(struct mail_user *user, struct mailbox *inbox,
				guid_128_t guid_r, const char **error_r)
{
	struct mailbox_metadata metadata;
	struct mailbox *own = NULL;
	int ret;

	if (inbox == NULL) {
		own = coi_user_inbox_alloc(user);
		inbox = own;
	}
	ret = inbox_get_guid(inbox, &metadata);
	if (ret == 0) {
		guid_128_copy(guid_r, metadata.guid);
	} else {
		*error_r = t_strdup_printf(
			"Can't get the GUID of INBOX: %s",
			mailbox_get_last_internal_error(inbox, NULL));
	}
	if (own != NULL)
		mailbox_free(&own);
	return ret;
}

int coi_user_dict_path(struct mail_user *user, struct mailbox *inbox,
		       const char *key, const char **path_r,
		       const char **error_r)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);

	if ((!cuser->delivering || guid_128_is_empty(cuser->inbox_guid)) &&
	    user_read_inbox_guid(user, inbox, cuser->inbox_guid, error_r) < 0)
		return -1;
	*path_r = t_strconcat(DICT_PATH_PRIVATE,
			      guid_128_to_string(cuser->inbox_guid), "/", key,
			      NULL);
	return 0;
}

/* The user's folders are still there. */
static void coi_mail_user_deinit_pre(struct mail_user *user)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);

	coi_seen_move_later(user);
	cuser->module_ctx.super.deinit_pre(user);
}

static void coi_mail_user_deinit(struct mail_user *user)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);

	if (cuser->set != NULL)
		coi_compat_settings_free(&cuser->set);
	cuser->module_ctx.super.deinit(user);
}

void coi_mail_user_created(struct mail_user *user)
{
	struct mail_user_vfuncs *v = user->vlast;
	struct coi_user *cuser;

	/* Owners of shared folders and the user that LMTP keeps incoming mail
	   with are none of ours. */
	if (user->autocreated)
		return;

	cuser = p_new(user->pool, struct coi_user, 1);
	cuser->module_ctx.super = *v;
	user->vlast = &cuser->module_ctx.super;
	v->deinit_pre = coi_mail_user_deinit_pre;
	v->deinit = coi_mail_user_deinit;
	MODULE_CONTEXT_SET(user, coi_user_module, cuser);
	/* Clients aren't offered what can't be done, and nobody is told each time. */
	if (coi_core_is_shut_out()) {
		cuser->set_failed = TRUE;
		e_debug(user->event,
			"coi: COI is off in a process that is chrooted");
	}
	coi_deliver_user_created(user);
}

/* Clients and deliveries find a folder by its name. Where another namespace has
   that, be it an alias, the folder that we make is none that they see. */
static int
coi_settings_check_namespace(struct mail_user *user, const char **error_r)
{
	const char *const vnames[] = { coi_folder_chats(user),
				       coi_folder_contacts(user) };
	struct mail_namespace *ns, *inbox_ns = coi_user_inbox_namespace(user);

	for (unsigned int i = 0; i < N_ELEMENTS(vnames); i++) {
		ns = mail_namespace_find(user->namespaces, vnames[i]);
		if (ns != inbox_ns) {
			*error_r = t_strdup_printf(
				"%s is in the namespace with the prefix "
				"\"%s\", and not in that of INBOX",
				vnames[i], ns->prefix);
			return -1;
		}
	}
	return 0;
}

/* What a folder may be called depends on the layout, and only Dovecot knows all of it. */
static int
coi_settings_check_folder(struct mail_user *user, const char **error_r)
{
	struct mailbox *box;
	int ret;

	box = mailbox_alloc(coi_user_inbox_namespace(user)->list,
			    coi_folder_contacts(user),
			    MAILBOX_FLAG_IGNORE_ACLS);
	ret = mailbox_verify_create_name(box);
	if (ret < 0) {
		*error_r = t_strdup_printf("coi_mailbox_root: %s",
					   mailbox_get_last_error(box, NULL));
	}
	mailbox_free(&box);
	return ret;
}

static int
coi_settings_check_push(const struct coi_settings *set, const char **error_r)
{
	if (!set->coi_push)
		return 0;
	/* imap would end itself at a blank, and clients stumble over the rest */
	for (const char *p = set->coi_push_capability; *p != '\0'; p++) {
		if (!IS_ATOM_CHAR(*p)) {
			*error_r = "coi_push_capability isn't the name of "
				   "a capability (an atom)";
			return -1;
		}
	}
	/* each subscription would fail, as if by its push service */
	if (set->webpush_subscription_expire == 0) {
		*error_r = "webpush_subscription_expire is 0";
		return -1;
	}
	if (set->coi_push_register_timeout == 0) {
		*error_r = "coi_push_register_timeout is 0";
		return -1;
	}
	return 0;
}

static int
coi_settings_check(struct mail_user *user, const struct coi_settings *set,
		   const char **error_r)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	const struct coi_core *core;
	const char *error;
	char sep = '\0';

	if (coi_settings_check_push(set, error_r) < 0)
		return -1;
	/* An IMAP session is created before its namespaces are. */
	if (user->namespaces != NULL) {
		if (coi_settings_check_namespace(user, error_r) < 0)
			return -1;
		sep = mail_namespace_get_sep(coi_user_inbox_namespace(user));
	}
	cuser->chat_rules = COI_CHAT_RULES_DEFAULT;
	/* a session with the defaults needs no core for them */
	if (strcmp(set->coi_mailbox_root, COI_DEFAULT_MAILBOX_ROOT) == 0 &&
	    strcmp(set->coi_chat_rules, COI_DEFAULT_CHAT_RULES) == 0)
		return 0;
	core = coi_core_get(user->event);
	if (core == NULL) {
		*error_r = "The core library isn't loaded";
		return -1;
	}
	error = core->config_mailbox_root_check(
		coi_bytes_from_str(set->coi_mailbox_root), sep);
	if (error != NULL) {
		*error_r = t_strdup_printf("coi_mailbox_root %s", error);
		return -1;
	}
	if (user->namespaces != NULL &&
	    coi_settings_check_folder(user, error_r) < 0)
		return -1;
	error = core->config_chat_rules_parse(
		coi_bytes_from_str(set->coi_chat_rules), &cuser->chat_rules);
	if (error != NULL) {
		*error_r = t_strdup_printf("coi_chat_rules %s", error);
		return -1;
	}
	return 0;
}

static int coi_user_settings_read(struct mail_user *user, const char **error_r)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);

	if (cuser->set == NULL &&
	    coi_compat_settings_get(user, &cuser->set, error_r) < 0)
		return -1;
	if (cuser->set_checked || !cuser->set->coi)
		return 0;
	/* They are asked for while they are checked, by coi-folders.c. */
	cuser->set_checked = TRUE;
	if (coi_settings_check(user, cuser->set, error_r) < 0) {
		coi_compat_settings_free(&cuser->set);
		return -1;
	}
	cuser->set_checked = user->namespaces != NULL;
	return 0;
}

const struct coi_settings *coi_user_settings(struct mail_user *user)
{
	static bool logged = FALSE;
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	const char *error;

	if (cuser == NULL || cuser->set_failed)
		return NULL;
	if (coi_user_settings_read(user, &error) < 0) {
		cuser->set_failed = TRUE;
		if (!logged) {
			logged = TRUE;
			e_error(user->event,
				"coi: COI is off, because its "
				"settings can't be used: %s",
				error);
		}
		return NULL;
	}
	return cuser->set->coi ? cuser->set : NULL;
}

bool coi_user_is_excluded(struct mail_user *user)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);

	(void)coi_user_settings(user);
	return cuser != NULL && cuser->set != NULL && !cuser->set->coi;
}

bool coi_user_lacks_home(struct mail_user *user)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	const char *home;

	if (cuser == NULL)
		return FALSE;
	if (!cuser->home_checked) {
		cuser->home_checked = TRUE;
		cuser->lacks_home = mail_user_get_home(user, &home) <= 0 &&
			coi_compat_dict_lacks_home(user);
		if (cuser->lacks_home) {
			e_debug(user->event,
				"coi: COI is off for a user without a home");
		}
	}
	return cuser->lacks_home;
}

int coi_user_get_dict(struct mail_user *user, struct dict **dict_r,
		      const char **error_r)
{
	int ret;

	/* lib-storage may have opened one all the same, of no use */
	if (coi_user_lacks_home(user)) {
		*error_r = COI_USER_NO_HOME;
		return -1;
	}
	/* The same field that lib-storage fills in when it first needs the
	   metadata, and frees with the user. Setting it makes all of METADATA
	   work with our fallback as if the admin had configured it. */
	if (user->_attr_dict == NULL) {
		ret = coi_compat_attribute_dict_init(user, &user->_attr_dict,
						     error_r);
		if (ret <= 0)
			return ret;
	}
	*dict_r = user->_attr_dict;
	return 1;
}

static void user_log_no_place(struct mail_user *user, const char *error)
{
	e_error(user->event,
		"coi: COI is off, because there is no place for its metadata: "
		"%s",
		error);
}

bool coi_user_refuse_homeless(struct mail_user *user)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);

	if (!coi_user_lacks_home(user))
		return FALSE;
	if (!cuser->refusal_logged)
		user_log_no_place(user, COI_USER_NO_HOME);
	cuser->refusal_logged = TRUE;
	return TRUE;
}

bool coi_user_is_offered(struct mail_user *user)
{
	static bool logged = FALSE;
	struct dict *dict;
	const char *error;
	int ret;

	if (coi_user_settings(user) == NULL)
		return FALSE;
	ret = coi_user_get_dict(user, &dict, &error);
	if (ret > 0)
		return TRUE;
	if (!logged && !coi_user_lacks_home(user)) {
		logged = TRUE;
		user_log_no_place(user,
				  ret < 0 ? error : coi_compat_no_dict_hint);
	}
	return FALSE;
}
