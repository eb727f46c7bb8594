/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The first decision of the design: where the core can't be loaded, the glue
   says so once and carries on. */

#include "glue-tests.h"

#include "lib.h"
#include "coi-core.h"

static unsigned int log_count;
static struct event *event;

static void ATTR_FORMAT(2, 0) count_log(const struct failure_context *ctx,
					const char *format, va_list args)
{
	(void)format;
	(void)args;
	if (ctx->type == LOG_TYPE_ERROR)
		log_count++;
}

static int setup(void **state)
{
	(void)state;
	/* can't be done twice in a process */
	if (!lib_is_initialized())
		lib_init();
	i_set_error_handler(count_log);
	log_count = 0;
	event = event_create(NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	coi_core_deinit();
	event_unref(&event);
	return 0;
}

static void test_core_beside_the_module(void **state)
{
	const struct coi_core *core;

	(void)state;
	coi_core_init(GLUE_CORES "/whole/lib95_coi_plugin.so");
	core = coi_core_get(event);
	assert_non_null(core);
	assert_int_equal(core->version, COI_CORE_VERSION);
	assert_ptr_equal(coi_core_get(event), core);
	assert_int_equal(log_count, 0);
}

static void test_core_is_not_loaded_before_it_is_needed(void **state)
{
	(void)state;
	coi_core_init(GLUE_CORES "/missing/lib95_coi_plugin.so");
	assert_int_equal(log_count, 0);
}

static void assert_no_core(const char *module_path)
{
	coi_core_init(module_path);
	assert_null(coi_core_get(event));
	assert_int_equal(log_count, 1);
	/* not tried again, not logged again */
	assert_null(coi_core_get(event));
	assert_int_equal(log_count, 1);
}

static void test_core_missing(void **state)
{
	(void)state;
	assert_no_core(GLUE_CORES "/missing/lib95_coi_plugin.so");
}

static void test_core_is_no_library(void **state)
{
	(void)state;
	assert_no_core(GLUE_CORES "/text/lib95_coi_plugin.so");
}

static void test_core_without_the_symbol(void **state)
{
	(void)state;
	assert_no_core(GLUE_CORES "/no-symbol/lib95_coi_plugin.so");
}

static void test_core_of_another_version(void **state)
{
	(void)state;
	assert_no_core(GLUE_CORES "/version/lib95_coi_plugin.so");
}

static void test_core_that_needs_an_unknown_symbol(void **state)
{
	(void)state;
	assert_no_core(GLUE_CORES "/unresolved/lib95_coi_plugin.so");
}

static void test_module_path_without_a_directory(void **state)
{
	(void)state;
	assert_no_core("lib95_coi_plugin.so");
}

static void test_core_after_a_failure_and_deinit(void **state)
{
	(void)state;
	assert_no_core(GLUE_CORES "/missing/lib95_coi_plugin.so");
	coi_core_deinit();
	coi_core_init(GLUE_CORES "/whole/lib95_coi_plugin.so");
	assert_non_null(coi_core_get(event));
}

#define CORE_TEST(func) cmocka_unit_test_setup_teardown(func, setup, teardown)

static const struct CMUnitTest tests[] = {
	CORE_TEST(test_core_beside_the_module),
	CORE_TEST(test_core_is_not_loaded_before_it_is_needed),
	CORE_TEST(test_core_missing),
	CORE_TEST(test_core_is_no_library),
	CORE_TEST(test_core_without_the_symbol),
	CORE_TEST(test_core_of_another_version),
	CORE_TEST(test_core_that_needs_an_unknown_symbol),
	CORE_TEST(test_module_path_without_a_directory),
	CORE_TEST(test_core_after_a_failure_and_deinit),
};

GLUE_TESTS(CoiCore, tests)
