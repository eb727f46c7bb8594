/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "coi-config.h"
#ifdef COI_HAVE_SETTINGS_GET
#include "settings.h"
#endif
#include "settings-parser.h"
#include "coi-settings-info.h"

#undef DEF
#define DEF(type, name) \
	SETTING_DEFINE_STRUCT_##type(#name, name, struct coi_settings)

static const struct setting_define coi_setting_defines[] = {
	DEF(BOOL, coi),
	DEF(STR, coi_mailbox_root),
	DEF(STR, coi_chat_rules),
	DEF(BOOL, coi_notify_instant),
	DEF(BOOL, coi_push),
	DEF(STR, coi_push_capability),
	DEF(BOOL, coi_push_deltachat),
	DEF(UINT, coi_push_deltachat_recipients),
	DEF(BOOL, coi_push_appended),
	DEF(UINT, webpush_subscription_limit),
	DEF(TIME, webpush_subscription_expire),
	DEF(TIME_MSECS, coi_push_handoff_timeout),
	DEF(TIME_MSECS, coi_push_register_timeout),
	DEF(STR, coi_push_spool_dir),
#ifdef COI_HAVE_SETTINGS_GET
	{ .type = SET_FILTER_NAME,
	  .key = "coi_attribute",
	  .required_setting = "dict" },
#else
	DEF(STR, coi_attribute_dict),
#endif

	SETTING_DEFINE_LIST_END
};

static const struct coi_settings coi_default_settings = {
	.coi = TRUE,
	.coi_mailbox_root = COI_DEFAULT_MAILBOX_ROOT,
	.coi_chat_rules = COI_DEFAULT_CHAT_RULES,
	.coi_notify_instant = TRUE,
	.coi_push = COI_DEFAULT_PUSH,
	.coi_push_capability = "WEBPUSH",
	.coi_push_deltachat = COI_DEFAULT_PUSH_DELTACHAT,
	.coi_push_deltachat_recipients = 1000,
	.coi_push_appended = FALSE,
	.webpush_subscription_limit = 10,
	.webpush_subscription_expire = 5 * 60,
	.coi_push_handoff_timeout = 100,
	.coi_push_register_timeout = COI_DEFAULT_PUSH_REGISTER_TIMEOUT,
	.coi_push_spool_dir = COI_DEFAULT_PUSH_SPOOL_DIR,
#ifndef COI_HAVE_SETTINGS_GET
	.coi_attribute_dict = "",
#endif
};

#undef DEF
#define DEF(type, name) \
	SETTING_DEFINE_STRUCT_##type(#name, name, struct coi_service_settings)

static const struct setting_define coi_service_setting_defines[] = {
	DEF(BOOL, coi_push),
	DEF(BOOL, coi_push_deltachat),
	DEF(STR, coi_push_deltachat_gateway),
	DEF(TIME_MSECS, coi_push_register_timeout),
	DEF(STR, coi_push_spool_dir),
	DEF(STR, coi_push_key_dir),
	DEF(STR, coi_push_queue_dir),
	DEF(STR, coi_push_vapid_subject),
	DEF(STR, coi_push_hosts),
	DEF(STR, coi_push_hosts_denied),
	DEF(STR, coi_push_hosts_http),
	DEF(STR, coi_push_networks),
	DEF(STR, coi_push_ssl_ca_file),
	DEF(TIME, coi_push_ttl),
	DEF(UINT, coi_push_queue_limit),
	DEF(UINT, coi_push_queue_user_limit),
	DEF(UINT, coi_push_register_limit),

	SETTING_DEFINE_LIST_END
};

static const struct coi_service_settings coi_service_default_settings = {
	.coi_push = COI_DEFAULT_PUSH,
	.coi_push_deltachat = COI_DEFAULT_PUSH_DELTACHAT,
	.coi_push_deltachat_gateway = "https://notifications.delta.chat/notify",
	.coi_push_register_timeout = COI_DEFAULT_PUSH_REGISTER_TIMEOUT,
	.coi_push_spool_dir = COI_DEFAULT_PUSH_SPOOL_DIR,
	.coi_push_key_dir = "/var/lib/dovecot-coi/keys",
	.coi_push_queue_dir = "/var/lib/dovecot-coi/queue",
	.coi_push_vapid_subject = "",
	.coi_push_hosts = "",
	.coi_push_hosts_denied = "",
	.coi_push_hosts_http = "",
	.coi_push_networks = "",
	.coi_push_ssl_ca_file = "",
	.coi_push_ttl = 24 * 60 * 60,
	.coi_push_queue_limit = 1000000,
	.coi_push_queue_user_limit = 1000,
	.coi_push_register_limit = 30,
};

/* There is no check_func on purpose: with one, a bad value of ours would keep
   Dovecot from starting. coi-user.c checks, and turns COI off instead. */
const struct setting_parser_info coi_setting_parser_info = {
#ifdef COI_HAVE_SETTINGS_GET
	.name = "coi",
	.pool_offset1 = 1 + offsetof(struct coi_settings, pool),
#else
	.module_name = "coi",
	.type_offset = SIZE_MAX,
	.parent_offset = SIZE_MAX,
#endif
	.defines = coi_setting_defines,
	.defaults = &coi_default_settings,
	.struct_size = sizeof(struct coi_settings),
};

const struct setting_parser_info coi_service_setting_parser_info = {
#ifdef COI_HAVE_SETTINGS_GET
	.name = "coi_service",
	.pool_offset1 = 1 + offsetof(struct coi_service_settings, pool),
#else
	.module_name = "coi-service",
	.type_offset = SIZE_MAX,
	.parent_offset = SIZE_MAX,
#endif
	.defines = coi_service_setting_defines,
	.defaults = &coi_service_default_settings,
	.struct_size = sizeof(struct coi_service_settings),
};

#ifndef COI_HAVE_SETTINGS_GET

/* Nearly all users of a process have the same ones, and parsing them would be a good
   part of what a delivery costs that has nothing to do with us. */
static struct {
	const struct coi_settings *set;
	/* What it was parsed from: name and value in turn, then NULL. */
	const char **envs;
} last_parsed;

static bool coi_setting_may_be_ours(const char *name)
{
	return strcmp(name, "coi") == 0 || strncmp(name, "coi_", 4) == 0 ||
		strncmp(name, "webpush_", 8) == 0;
}

static bool coi_settings_are_last(const char *const *envs, unsigned int count)
{
	const char *const *last = last_parsed.envs;

	if (last_parsed.set == NULL)
		return FALSE;
	for (unsigned int i = 0; i + 1 < count; i += 2) {
		if (!coi_setting_may_be_ours(envs[i]))
			continue;
		if (last[0] == NULL || strcmp(last[0], envs[i]) != 0 ||
		    strcmp(last[1], envs[i + 1]) != 0)
			return FALSE;
		last += 2;
	}
	return last[0] == NULL;
}

static void coi_settings_set_last(const char *const *envs, unsigned int count,
				  const struct coi_settings *set)
{
	unsigned int last = 0;

	coi_settings_forget();
	last_parsed.set = set;
	last_parsed.envs = p_new(set->pool, const char *, count + 1);
	for (unsigned int i = 0; i + 1 < count; i += 2) {
		if (!coi_setting_may_be_ours(envs[i]))
			continue;
		last_parsed.envs[last++] = p_strdup(set->pool, envs[i]);
		last_parsed.envs[last++] = p_strdup(set->pool, envs[i + 1]);
	}
	pool_ref(set->pool);
}

void coi_settings_forget(void)
{
	pool_t pool;

	if (last_parsed.set == NULL)
		return;
	pool = last_parsed.set->pool;
	i_zero(&last_parsed);
	pool_unref(&pool);
}

static bool
coi_setting_is_in(const struct setting_parser_info *info, const char *name)
{
	const struct setting_define *def;

	for (def = info->defines; def->key != NULL; def++) {
		if (strcmp(def->key, name) == 0)
			return TRUE;
	}
	return FALSE;
}

static bool coi_setting_is_known(const char *name)
{
	return coi_setting_is_in(&coi_setting_parser_info, name) ||
		coi_setting_is_in(&coi_service_setting_parser_info, name);
}

/* Nobody else tells the admin about a typo. */
static void
coi_settings_warn_of_unknown(struct event *event, const char *const *envs,
			     unsigned int count)
{
	static bool warned = FALSE;
	bool warn = !warned;

	for (unsigned int i = 0; warn && i + 1 < count; i += 2) {
		if (!coi_setting_may_be_ours(envs[i]) ||
		    coi_setting_is_known(envs[i]))
			continue;
		warned = TRUE;
		e_warning(event, "coi: Ignoring unknown setting plugin/%s",
			  envs[i]);
	}
}

/* Returns NULL if error. */
static void *coi_settings_parse_info(const struct setting_parser_info *info,
				     pool_t pool, const char *const *envs,
				     unsigned int count, const char **error_r)
{
	struct setting_parser_context *parser = settings_parser_init(pool, info,
								     0);
	void *set = NULL;
	unsigned int i;

	for (i = 0; i + 1 < count; i += 2) {
		if (coi_setting_is_in(info, envs[i]) &&
		    settings_parse_keyvalue(parser, envs[i], envs[i + 1]) < 0)
			break;
	}
	if (i + 1 >= count)
		set = settings_parser_get(parser);
	else {
		/* It names the value only. */
		*error_r = t_strdup_printf("%s: %s", envs[i],
					   settings_parser_get_error(parser));
	}
	settings_parser_deinit(&parser);
	return set;
}

int coi_settings_parse(struct event *event, const char *const *envs,
		       unsigned int count, const struct coi_settings **set_r,
		       const char **error_r)
{
	struct coi_settings *set;
	pool_t pool;

	if (coi_settings_are_last(envs, count)) {
		pool_ref(last_parsed.set->pool);
		*set_r = last_parsed.set;
		return 0;
	}
	coi_settings_warn_of_unknown(event, envs, count);
	pool = pool_alloconly_create("coi settings", 2048);
	set = coi_settings_parse_info(&coi_setting_parser_info, pool, envs,
				      count, error_r);
	if (set == NULL) {
		pool_unref(&pool);
		return -1;
	}
	set->pool = pool;
	coi_settings_set_last(envs, count, set);
	*set_r = set;
	return 0;
}

int coi_service_settings_parse(struct event *event, const char *const *envs,
			       unsigned int count,
			       const struct coi_service_settings **set_r,
			       const char **error_r)
{
	pool_t pool = pool_alloconly_create("coi-push settings", 2048);
	struct coi_service_settings *set;

	coi_settings_warn_of_unknown(event, envs, count);
	set = coi_settings_parse_info(&coi_service_setting_parser_info, pool,
				      envs, count, error_r);
	if (set == NULL) {
		pool_unref(&pool);
		return -1;
	}
	set->pool = pool;
	*set_r = set;
	return 0;
}

#endif
