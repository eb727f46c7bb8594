/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "array.h"
#include "coi-config.h"
#ifdef COI_HAVE_SETTINGS_GET
#include "settings.h"
#endif
#include "settings-parser.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "coi-settings-info.h"
#include "coi-service.h"

#ifdef COI_HAVE_SETTINGS_GET

int coi_service_settings_read(struct master_service *service,
			      struct event *event,
			      const struct coi_service_settings **set_r,
			      const char **error_r)
{
	if (master_service_settings_read_simple(service, error_r) < 0)
		return -1;
	return settings_get(event, &coi_service_setting_parser_info, 0, set_r,
			    error_r);
}

void coi_service_settings_free(const struct coi_service_settings **set)
{
	settings_free(*set);
}

#else

/* The plugin section belongs to the settings of mail processes. We ask for
   these, and take that one thing. */
struct coi_plugin_settings {
	ARRAY(const char *) plugin_envs;
};

static const struct setting_define coi_plugin_setting_defines[] = {
	{ .type = SET_STRLIST,
	  .key = "plugin",
	  .offset = offsetof(struct coi_plugin_settings, plugin_envs) },

	SETTING_DEFINE_LIST_END
};

static const struct coi_plugin_settings coi_plugin_default_settings = {
	.plugin_envs = ARRAY_INIT,
};

static const struct setting_parser_info coi_plugin_setting_parser_info = {
	.module_name = "mail",
	.defines = coi_plugin_setting_defines,
	.defaults = &coi_plugin_default_settings,
	.type_offset = SIZE_MAX,
	.struct_size = sizeof(struct coi_plugin_settings),
	.parent_offset = SIZE_MAX,
};

int coi_service_settings_read(struct master_service *service,
			      struct event *event,
			      const struct coi_service_settings **set_r,
			      const char **error_r)
{
	static const struct setting_parser_info *const roots[] = {
		&coi_plugin_setting_parser_info, NULL
	};
	struct master_service_settings_input input;
	struct master_service_settings_output output;
	const struct coi_plugin_settings *plugin_set;
	const char *const *envs = NULL;
	unsigned int count = 0;

	i_zero(&input);
	input.roots = roots;
	input.module = "mail";
	input.service = "coi-push";
	if (master_service_settings_read(service, &input, &output, error_r) < 0)
		return -1;

	plugin_set = master_service_settings_get_others(service)[0];
	if (array_is_created(&plugin_set->plugin_envs))
		envs = array_get(&plugin_set->plugin_envs, &count);
	return coi_service_settings_parse(event, envs, count, set_r, error_r);
}

void coi_service_settings_free(const struct coi_service_settings **set)
{
	pool_t pool = (*set)->pool;

	*set = NULL;
	pool_unref(&pool);
}

#endif
