/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Module for the config process: makes doveconf know, check and print our
   settings. */

#include "lib.h"
#include "settings-parser.h"
#include "coi-plugin.h"
#include "coi-settings-info.h"

extern const char *coi_settings_version;
extern const struct setting_parser_info *coi_settings_set_infos[];

COI_EXPORT const char *coi_settings_version = DOVECOT_ABI_VERSION;

COI_EXPORT const struct setting_parser_info *coi_settings_set_infos[] = {
	&coi_setting_parser_info, &coi_service_setting_parser_info, NULL
};
