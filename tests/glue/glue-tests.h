/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef GLUE_TESTS_H
#define GLUE_TESTS_H

/* Tests of the C glue, written with CMocka's API. A file of tests has a table
   of struct CMUnitTest and GLUE_TESTS() behind it, and neither a main() nor a
   group of its own: each entry becomes a case of the GoogleTest runner. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* CMocka's header doesn't care for C++ before version 1.1.6. */
#ifdef __cplusplus
extern "C" {
#endif

#include <cmocka.h>

#ifdef __cplusplus
/* a macro with the name of a function of std::ios */
#undef fail
#endif

/* The table must stay. */
void glue_tests_register(const char *suite, const struct CMUnitTest *tests,
			 size_t count);

#ifdef __cplusplus
}
#endif

#define GLUE_TESTS(suite, table)                                             \
	__attribute__((constructor)) static void glue_register_##suite(void) \
	{                                                                    \
		glue_tests_register(#suite, table,                           \
				    sizeof(table) / sizeof((table)[0]));     \
	}

#endif
