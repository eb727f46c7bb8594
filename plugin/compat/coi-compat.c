/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "array.h"
#include "dict-private.h"
#include "home-expand.h"
#include "mail-storage-private.h"
#include "mailbox-list-private.h"
#include "mail-storage-settings.h"
#include "mail-user.h"
#include "coi-config.h"
#include "coi-dict.h"
#include "coi-settings-info.h"
#include "coi-compat.h"

static const char *user_path_expand(struct mail_user *user, const char *path)
{
	const char *home;

	if (path[0] != '~')
		return path;
	return mail_user_get_home(user, &home) > 0 ?
		home_expand_tilde(path, home) :
		NULL;
}

#ifdef COI_HAVE_NFC_NAMES

#include "unichar.h"

const char *coi_compat_folder_name(struct mailbox_list *list, const char *vname)
{
	const char *name;

	if (!list->mail_set->mailbox_list_normalize_names_to_nfc ||
	    uni_utf8_to_nfc(vname, strlen(vname), &name) < 0)
		return vname;
	return name;
}

void coi_compat_mailbox_hide_rename(struct mailbox *box)
{
	mailbox_suppress_nfc_name_change_notification(box);
}

#else

const char *
coi_compat_folder_name(struct mailbox_list *list ATTR_UNUSED, const char *vname)
{
	return vname;
}

void coi_compat_mailbox_hide_rename(struct mailbox *box ATTR_UNUSED)
{
}

#endif

bool coi_compat_error_is_size(enum mail_error error)
{
#ifdef COI_HAVE_ERROR_TOOBIG
	if (error == MAIL_ERROR_TOOBIG)
		return TRUE;
#endif
	return error == MAIL_ERROR_LIMIT;
}

#ifdef COI_HAVE_SETTINGS_GET

#include "settings.h"

const char coi_compat_no_dict_hint[] =
	"neither mail_attribute nor coi_attribute has a dict";

int coi_compat_settings_get(struct mail_user *user,
			    const struct coi_settings **set_r,
			    const char **error_r)
{
	return settings_get(user->event, &coi_setting_parser_info, 0, set_r,
			    error_r);
}

void coi_compat_settings_free(const struct coi_settings **set)
{
	settings_free(*set);
}

void coi_compat_deinit(void)
{
}

static int attribute_dict_init(struct mail_user *user, const char *filter_name,
			       struct dict **dict_r, const char **error_r)
{
	struct event *event = event_create(user->event);
	int ret;

	settings_event_add_filter_name(event, filter_name);
	ret = dict_init_auto(event, dict_r, error_r);
	event_unref(&event);
	return ret;
}

int coi_compat_attribute_dict_init(struct mail_user *user, struct dict **dict_r,
				   const char **error_r)
{
	int ret;

	ret = attribute_dict_init(user, "mail_attribute", dict_r, error_r);
	return ret != 0 ?
		ret :
		attribute_dict_init(user, "coi_attribute", dict_r, error_r);
}

bool coi_compat_dict_is_ours(struct mail_user *user)
{
	struct dict *dict;
	const char *error;
	int ret;

	ret = attribute_dict_init(user, "mail_attribute", &dict, &error);
	if (ret > 0)
		dict_deinit(&dict);
	return ret == 0;
}

/* The settings of Dovecot's file dict, which are in none of its headers. They have to
   be the same ones in the same order, or else it gives us none. */
struct dict_file_settings {
	pool_t pool;
	const char *dict_file_lock_method;
	const char *dict_file_path;
};

#define DEF(type, name) \
	SETTING_DEFINE_STRUCT_##type(#name, name, struct dict_file_settings)

static const struct setting_define coi_dict_file_setting_defines[] = {
	DEF(STR, dict_file_lock_method), DEF(STR, dict_file_path),

	SETTING_DEFINE_LIST_END
};

static const struct dict_file_settings coi_dict_file_default_settings = {
	.dict_file_lock_method = "",
	.dict_file_path = "",
};

static const struct setting_parser_info coi_dict_file_setting_parser_info = {
	.name = "dict_file",
	.defines = coi_dict_file_setting_defines,
	.defaults = &coi_dict_file_default_settings,
	.struct_size = sizeof(struct dict_file_settings),
	.pool_offset1 = 1 + offsetof(struct dict_file_settings, pool),
};

static const char *
dict_file_path(struct mail_user *user, struct event *dict_event)
{
	const struct dict_file_settings *set;
	const char *path, *error;

	if (settings_get(dict_event, &coi_dict_file_setting_parser_info, 0,
			 &set, &error) < 0)
		return NULL;
	path = user_path_expand(user, t_strdup(set->dict_file_path));
	settings_free(set);
	return path;
}

const char *
coi_compat_dict_file_path(struct mail_user *user, const struct dict *dict)
{
	return coi_dict_is_file(dict) ? dict_file_path(user, dict->event) :
					NULL;
}

/* The name of the dict that dict_init_auto() would take, NULL if that would fail, "" if
   there is none. */
static const char *dict_get_name(struct event *event)
{
	const struct dict_settings *set;
	const char *name, *error;

	if (settings_get(event, &dict_setting_parser_info, 0, &set, &error) < 0)
		return NULL;
	if (array_is_empty(&set->dicts))
		name = "";
	else if (array_count(&set->dicts) > 1)
		name = NULL;
	else
		name = t_strdup(array_idx_elem(&set->dicts, 0));
	settings_free(set);
	return name;
}

static bool dict_has_file_driver(struct event *event)
{
	const struct dict_settings *set;
	const char *error;
	bool ret;

	if (settings_get(event, &dict_setting_parser_info, 0, &set, &error) < 0)
		return FALSE;
	ret = strcmp(set->dict_driver, "file") == 0;
	settings_free(set);
	return ret;
}

/* Returns FALSE if there is no such dict. path_r is NULL if it isn't a file, or if that
   isn't known. */
static bool
attribute_dict_get_path(struct mail_user *user, const char *filter_name,
			bool *is_file_r, const char **path_r)
{
	struct event *event = event_create(user->event), *dict_event;
	const char *name;

	*is_file_r = FALSE;
	*path_r = NULL;
	settings_event_add_filter_name(event, filter_name);
	name = dict_get_name(event);
	if (name != NULL && name[0] != '\0') {
		dict_event = event_create(event);
		settings_event_add_list_filter_name(dict_event, "dict", name);
		*is_file_r = dict_has_file_driver(dict_event);
		if (*is_file_r)
			*path_r = dict_file_path(user, dict_event);
		event_unref(&dict_event);
	}
	event_unref(&event);
	return name == NULL || name[0] != '\0';
}

static const char *user_dict_file_path(struct mail_user *user, bool *is_file_r)
{
	const char *path;

	if (!attribute_dict_get_path(user, "mail_attribute", is_file_r, &path))
		(void)attribute_dict_get_path(user, "coi_attribute", is_file_r,
					      &path);
	return path;
}

const char *coi_compat_attribute_dict_file_path(struct mail_user *user)
{
	bool is_file;

	return user_dict_file_path(user, &is_file);
}

bool coi_compat_dict_lacks_home(struct mail_user *user)
{
	bool is_file;

	/* a path with %{home} or ~ that can't be expanded */
	return user_dict_file_path(user, &is_file) == NULL && is_file;
}

void coi_compat_dict_hide_values(struct dict_transaction_context *t,
				 const char *path ATTR_UNUSED)
{
	dict_transaction_set_hide_log_values(t, TRUE);
}

bool coi_compat_mailbox_has_special_use(struct mailbox *box,
					const char *special_use)
{
	const char *use;

	if (box->set == NULL || !array_is_created(&box->set->special_use))
		return FALSE;
	array_foreach_elem(&box->set->special_use, use) {
		if (strcasecmp(use, special_use) == 0)
			return TRUE;
	}
	return FALSE;
}

#else

const char coi_compat_no_dict_hint[] =
	"neither mail_attribute_dict nor plugin/coi_attribute_dict is set";

int coi_compat_settings_get(struct mail_user *user,
			    const struct coi_settings **set_r,
			    const char **error_r)
{
	const char *const *envs = NULL;
	unsigned int count = 0;

	if (array_is_created(&user->set->plugin_envs))
		envs = array_get(&user->set->plugin_envs, &count);
	return coi_settings_parse(user->event, envs, count, set_r, error_r);
}

void coi_compat_settings_free(const struct coi_settings **set)
{
	pool_t pool = (*set)->pool;

	*set = NULL;
	pool_unref(&pool);
}

void coi_compat_deinit(void)
{
	coi_settings_forget();
}

bool coi_compat_dict_is_ours(struct mail_user *user)
{
	return mail_user_set_get_storage_set(user)->mail_attribute_dict[0] ==
		'\0';
}

static const char *attribute_dict_uri(struct mail_user *user)
{
	return coi_compat_dict_is_ours(user) ?
		mail_user_plugin_getenv(user, "coi_attribute_dict") :
		mail_user_set_get_storage_set(user)->mail_attribute_dict;
}

static const char *uri_file_path(struct mail_user *user, const char *uri)
{
	if (uri == NULL || strncmp(uri, "file:", 5) != 0)
		return NULL;
	/* behind a colon there may be how to lock it */
	return user_path_expand(user, t_strcut(uri + 5, ':'));
}

const char *
coi_compat_dict_file_path(struct mail_user *user, const struct dict *dict)
{
	return coi_dict_is_file(dict) ?
		coi_compat_attribute_dict_file_path(user) :
		NULL;
}

const char *coi_compat_attribute_dict_file_path(struct mail_user *user)
{
	return uri_file_path(user, attribute_dict_uri(user));
}

bool coi_compat_dict_lacks_home(struct mail_user *user)
{
	const char *uri = attribute_dict_uri(user);

	return uri != NULL && strncmp(uri, "file:~", 6) == 0;
}

int coi_compat_attribute_dict_init(struct mail_user *user, struct dict **dict_r,
				   const char **error_r)
{
	struct dict_settings dict_set;
	const char *uri = attribute_dict_uri(user);

	if (uri == NULL || *uri == '\0')
		return 0;

	i_zero(&dict_set);
	dict_set.base_dir = user->set->base_dir;
	dict_set.event_parent = user->event;
	if (dict_init(uri, &dict_set, dict_r, error_r) < 0) {
		*error_r = t_strdup_printf("dict_init(%s) failed: %s", uri,
					   *error_r);
		return -1;
	}
	return 1;
}

void coi_compat_dict_hide_values(struct dict_transaction_context *t,
				 const char *path)
{
	/* It is set right after this. */
	if (!t->changed)
		dict_unset(t, path);
}

bool coi_compat_mailbox_has_special_use(struct mailbox *box,
					const char *special_use)
{
	return box->set != NULL && box->set->special_use != NULL &&
		str_array_icase_find(t_strsplit_spaces(box->set->special_use,
						       " "),
				     special_use);
}

#endif
