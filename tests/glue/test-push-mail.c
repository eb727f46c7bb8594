/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a mail has to be to raise a push. */

#include "glue-tests.h"

#include "lib.h"
#include "str.h"
#include "coi-push-mail.h"

static int setup(void **state)
{
	(void)state;
	/* can't be done twice in a process */
	if (!lib_is_initialized())
		lib_init();
	return 0;
}

static void test_MSG_2_disposition_notifications(void **state)
{
	static const char *const types[] = {
		"multipart/report; report-type=disposition-notification",
		"multipart/report; report-type=disposition-notification; "
		"boundary=x",
		" Multipart/"
		"REPORT;\n\tReport-Type=\"Disposition-Notification\"",
		"multipart/report; boundary=\"a;b\\\"c\"; (comment)\r\n "
		"REPORT-TYPE = DISPOSITION-NOTIFICATION",
		"multipart (a) / (b) report; report-type=disposition-"
		"notification (c)",
		/* not well-formed, but nobody doubts what they are */
		"multipart/report;; report-type=disposition-notification",
		"multipart/report; boundary=----=_Part/1; "
		"report-type=disposition-notification",
		"multipart/report; boundary=a b; x; =y; "
		"report-type=disposition-notification;",
	};

	(void)state;
	for (unsigned int i = 0; i < N_ELEMENTS(types); i++) {
		if (!coi_push_mail_is_mdn(types[i]))
			fail_msg("%s", types[i]);
	}
}

static void test_MSG_2_other_mail(void **state)
{
	static const char *const types[] = {
		"",
		";",
		"multipart/report",
		"multipart/report;",
		"multipart/report; report-type",
		"multipart/report; report-type=delivery-status",
		"multipart/report; boundary=disposition-notification",
		"multipart/report; x=\"report-type=disposition-notification\"",
		"multipart/report; (report-type=disposition-notification)",
		"multipart/report;/;x=\";report-type=disposition-notification",
		"multipart/report; report-type",
		"multipart/report; =",
		"multipart/mixed; report-type=disposition-notification",
		"text/plain; report-type=disposition-notification",
		"message/disposition-notification",
		"\xff\x01/\"; report-type=disposition-notification",
	};

	(void)state;
	assert_false(coi_push_mail_is_mdn(NULL));
	for (unsigned int i = 0; i < N_ELEMENTS(types); i++) {
		if (coi_push_mail_is_mdn(types[i]))
			fail_msg("%s", types[i]);
	}
}

static void test_MSG_2_endless_content_type(void **state)
{
	string_t *type = t_str_new(1048576);

	(void)state;
	str_append(type, "multipart/report");
	for (unsigned int i = 0; i < 100000; i++)
		str_append(type, "; a=b");
	assert_false(coi_push_mail_is_mdn(str_c(type)));
}

static void test_MSG_4_encoded_words(void **state)
{
	static const struct {
		const char *value, *text;
	} words[] = {
		{ "", "" },
		{ "a =?b", "a =?b" },
		{ "\xff a", "\xef\xbf\xbd a" },
		{ "=?utf-8?q?a?=  =?utf-8?q?b?=", "ab" },
		{ "=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c" },
		/* one character in several words */
		{ "=?utf-8?q?=F0?= =?UTF-8?b?nw==?= =?utf-8?q?=98=80?=",
		  "\xf0\x9f\x98\x80" },
		{ "=?utf-16be?b?AG4A?= =?utf-16be?b?6Q==?=", "n\xc3\xa9" },
		{ "=?iso-2022-jp?b?GyRCRnwbKEI=?= "
		  "=?iso-2022-jp?b?GyRCS1wbKEI=?=",
		  "\xe6\x97\xa5\xe6\x9c\xac" },
		/* in words that don't belong together */
		{ "=?utf-8?q?=C3?= x =?utf-8?q?=BC?=",
		  "\xef\xbf\xbd x \xef\xbf\xbd" },
		{ "=?utf-8?q?=C3?= =?koi8-r?q?=C1?= =?utf-8?q?=BC?=",
		  "\xef\xbf\xbd\xd0\xb0\xef\xbf\xbd" },
		{ "=?gb2312?q?=C4=E3=BA?=", "\xe4\xbd\xa0\xef\xbf\xbd" },
		/* a language behind the charset */
		{ "=?iso-8859-1*de?q?=FC?=", "\xc3\xbc" },
		{ "=?utf-8*?q?=C3?= =?utf-8*en?q?=BC?=", "\xc3\xbc" },
		{ "=?*de?q?a?=", "a" },
		/* charsets that are called by another's name */
		{ "=?KS_C_5601-1987?q?=BE=C8_=8Cc?=",
		  "\xec\x95\x88 \xeb\x98\xa0" },
		{ "=?euc-kr?q?=8Cc?=", "\xeb\x98\xa0" },
		{ "=?GB2312?q?=E9F?=", "\xe9\x95\x95" },
		{ "=?gbk?q?=949=FC6?=", "\xf0\x9f\x98\x80" },
		{ "=?shift_jis?q?=87=40?=", "\xe2\x91\xa0" },
		{ "=?iso-8859-1?q?=80?=", "\xe2\x82\xac" },
		{ "=?iso-8859-8-i?q?=F9?=", "\xd7\xa9" },
		{ "=?x-unknown?q?a=FF?=", "a\xef\xbf\xbd" },
		{ "=?utf-8?q?a=00b?=",
		  "a\xef\xbf\xbd"
		  "b" },
	};

	(void)state;
	assert_null(coi_push_mail_decode(NULL));
	for (unsigned int i = 0; i < N_ELEMENTS(words); i++) {
		assert_string_equal(coi_push_mail_decode(words[i].value),
				    words[i].text);
	}
}

#define PUSH_MAIL_TEST(func) cmocka_unit_test_setup(func, setup)

static const struct CMUnitTest tests[] = {
	PUSH_MAIL_TEST(test_MSG_2_disposition_notifications),
	PUSH_MAIL_TEST(test_MSG_2_other_mail),
	PUSH_MAIL_TEST(test_MSG_2_endless_content_type),
	PUSH_MAIL_TEST(test_MSG_4_encoded_words),
};

GLUE_TESTS(CoiPushMail, tests)
