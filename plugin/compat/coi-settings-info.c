/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "settings.h"
#include "settings-parser.h"
#include "coi-compat.h"
#include "coi-settings-info.h"

#undef DEF
#define DEF(type, name) \
	SETTING_DEFINE_STRUCT_##type(#name, name, struct coi_settings)

static const struct setting_define coi_setting_defines[] = {
	DEF(STR, coi_mailbox_root),
	DEF(BOOL, coi_notify_instant),
	{ .type = SET_FILTER_NAME,
	  .key = "coi_attribute",
	  .required_setting = "dict" },

	SETTING_DEFINE_LIST_END
};

static const struct coi_settings coi_default_settings = {
	.coi_mailbox_root = COI_DEFAULT_MAILBOX_ROOT,
	.coi_notify_instant = TRUE,
};

/* There is no check_func on purpose: with one, a bad value of ours would keep
   Dovecot from starting. coi-user.c checks, and turns COI off instead. */
const struct setting_parser_info coi_setting_parser_info = {
	.name = "coi",

	.defines = coi_setting_defines,
	.defaults = &coi_default_settings,

	.struct_size = sizeof(struct coi_settings),
	.pool_offset1 = 1 + offsetof(struct coi_settings, pool),
};
