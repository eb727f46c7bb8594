/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_SETTINGS_INFO_H
#define COI_SETTINGS_INFO_H

/* The settings as Dovecot's typed settings know them. Compiled into the mail
   plugin, which reads them, and into the settings module, which tells doveconf
   about them. */

extern const struct setting_parser_info coi_setting_parser_info;

#endif
