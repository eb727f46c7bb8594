/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* When idle clients are told. */

#include "glue-tests.h"

#include "lib.h"
#include "ioloop.h"
#include "coi-notify.h"

static void set_time(long long msecs)
{
	ioloop_timeval.tv_sec = (time_t)(msecs / 1000);
	ioloop_timeval.tv_usec = (suseconds_t)(msecs % 1000 * 1000);
}

static void test_IDL_2_looks_that_tell_nothing(void **state)
{
	struct timeval last_time = { 0, 0 };
	unsigned int interval = 1, looks = 0;
	long long now = 1000000;

	(void)state;
	/* There is always something to look for, as soon as one may. */
	for (long long end = now + 3300; now < end; looks++) {
		set_time(now);
		interval = coi_notify_next_interval(&last_time, interval);
		last_time = ioloop_timeval;
		now += coi_notify_get_delay(&last_time, interval);
	}
	/* some 30 a second, and a few at the beginning */
	assert_true(looks >= 100 && looks <= 110);

	/* after some quiet, soon again */
	set_time(now + 100);
	assert_int_equal(coi_notify_next_interval(&last_time, interval), 1);
}

static void test_IDL_2_a_clock_that_is_set_back(void **state)
{
	struct timeval last_time = { 2000, 0 };

	(void)state;
	set_time(1000000);
	assert_int_equal(coi_notify_get_delay(&last_time, 33), 0);
	assert_int_equal(coi_notify_next_interval(&last_time, 33), 1);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_IDL_2_looks_that_tell_nothing),
	cmocka_unit_test(test_IDL_2_a_clock_that_is_set_back),
};

GLUE_TESTS(CoiNotify, tests)
