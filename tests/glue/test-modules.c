/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The modules as Dovecot sees them: entry points, and nothing else. */

#include "glue-tests.h"

#include "lib.h"

#include <stdio.h>
#include <string.h>

/* Fails for a symbol that the module exports and that starts with none of the
   prefixes. The list of prefixes ends with NULL. Returns the number of
   symbols. */
static unsigned int
check_exports(const char *module, const char *const *prefixes)
{
	char command[1024], line[1024];
	unsigned int count = 0;
	FILE *nm;

	snprintf(command, sizeof(command),
		 "'%s' --dynamic --defined-only --format=posix '%s'", GLUE_NM,
		 module);
	nm = popen(command, "r");
	assert_non_null(nm);
	while (fgets(line, sizeof(line), nm) != NULL) {
		const char *const *prefix = prefixes;

		while (*prefix != NULL &&
		       strncmp(line, *prefix, strlen(*prefix)) != 0)
			prefix++;
		if (*prefix == NULL)
			fail_msg("%s exports %s", module, line);
		count++;
	}
	assert_int_equal(pclose(nm), 0);
	return count;
}

static void test_exports_of_the_plugin(void **state)
{
	static const char *const prefixes[] = {
		"coi_plugin_init ", "coi_plugin_deinit ", "coi_plugin_version ",
		/* for doveadm's module */
		"coi_admin_get_queue ", "coi_admin_get_status ",
		"coi_admin_get_subscriptions ", NULL
	};

	(void)state;
	assert_int_equal(check_exports(GLUE_PLUGIN, prefixes), 6);
}

static void test_exports_of_the_doveadm_module(void **state)
{
	static const char *const prefixes[] = { "doveadm_coi_plugin_init ",
						"doveadm_coi_plugin_deinit ",
						"doveadm_coi_plugin_version ",
						NULL };

	(void)state;
	assert_int_equal(check_exports(GLUE_DOVEADM, prefixes), 3);
}

#ifdef GLUE_SETTINGS
static void test_exports_of_the_settings_module(void **state)
{
	static const char *const prefixes[] = { "coi_settings_", NULL };
	unsigned int count;

	(void)state;
	count = check_exports(GLUE_SETTINGS, prefixes);
	assert_true(count >= 2 && count <= 8);
}
#endif

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_exports_of_the_plugin),
	cmocka_unit_test(test_exports_of_the_doveadm_module),
#ifdef GLUE_SETTINGS
	cmocka_unit_test(test_exports_of_the_settings_module),
#endif
};

GLUE_TESTS(CoiModules, tests)
