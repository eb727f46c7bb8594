/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Settings from the plugin section: parsed once for all users that have the same. */

#include "glue-tests.h"

#include "lib.h"
#include "lib-event.h"
#include "coi-settings-info.h"

static struct event *event;

static int setup(void **state)
{
	(void)state;
	/* can't be done twice in a process */
	if (!lib_is_initialized())
		lib_init();
	event = event_create(NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	coi_settings_forget();
	event_unref(&event);
	return 0;
}

static const struct coi_settings *parse(const char *const *envs)
{
	const struct coi_settings *set;
	unsigned int count = 0;
	const char *error;

	while (envs[count] != NULL)
		count++;
	assert_int_equal(coi_settings_parse(event, envs, count, &set, &error),
			 0);
	return set;
}

static void drop(const struct coi_settings *set)
{
	pool_t pool = set->pool;

	pool_unref(&pool);
}

static const char *const base[] = { "sieve", "a",	 "coi_mailbox_root",
				    "COI",   "coi_push", "no",
				    NULL };

static void test_same_settings_are_parsed_once(void **state)
{
	/* what isn't ours may differ */
	static const char *const other[] = {
		"coi_mailbox_root", "COI", "quota", "b", "coi_push", "no", NULL
	};
	const struct coi_settings *first, *second;

	(void)state;
	first = parse(base);
	second = parse(other);
	assert_ptr_equal(first, second);
	drop(first);
	/* whoever has it yet may go on to use it */
	coi_settings_forget();
	assert_string_equal(second->coi_mailbox_root, "COI");
	drop(second);
}

static void test_other_settings_of_another_user(void **state)
{
	static const char *const others[][9] = {
		{ "coi_mailbox_root", "Chat", "coi_push", "no" },
		{ "coi_mailbox_root", "COI", "coi_push", "yes" },
		{ "coi_mailbox_root", "COI" },
		{ "coi_push", "no" },
		{ NULL },
		{ "coi_mailbox_root", "COI", "coi_push", "no",
		  "webpush_subscription_limit", "3" },
	};
	const struct coi_settings *first, *second, *third;

	(void)state;
	for (unsigned int i = 0; i < N_ELEMENTS(others); i++) {
		first = parse(base);
		second = parse(others[i]);
		third = parse(base);
		assert_ptr_not_equal(first, second);
		assert_string_equal(first->coi_mailbox_root, "COI");
		assert_string_equal(second->coi_mailbox_root,
				    i == 0 ? "Chat" : "COI");
		assert_int_equal(second->coi_push, i != 0 && i != 3 && i != 5);
		assert_int_equal(second->webpush_subscription_limit,
				 i == 5 ? 3 : 10);
		assert_string_equal(third->coi_mailbox_root, "COI");
		assert_false(third->coi_push);
		drop(first);
		drop(second);
		drop(third);
	}
}

static void test_bad_settings_dont_replace_good_ones(void **state)
{
	static const char *const bad[] = { "coi_push", "perhaps" };
	const struct coi_settings *first, *second;
	const char *error;

	(void)state;
	first = parse(base);
	assert_int_equal(coi_settings_parse(event, bad, N_ELEMENTS(bad),
					    &second, &error),
			 -1);
	second = parse(base);
	assert_false(second->coi_push);
	drop(first);
	drop(second);
}

#define SETTINGS_TEST(func) \
	cmocka_unit_test_setup_teardown(func, setup, teardown)

static const struct CMUnitTest tests[] = {
	SETTINGS_TEST(test_same_settings_are_parsed_once),
	SETTINGS_TEST(test_other_settings_of_another_user),
	SETTINGS_TEST(test_bad_settings_dont_replace_good_ones),
};

GLUE_TESTS(CoiSettings, tests)
