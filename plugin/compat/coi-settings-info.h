/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_SETTINGS_INFO_H
#define COI_SETTINGS_INFO_H

/* The settings as Dovecot's parser knows them. With typed settings, it is
   compiled into all that reads them, and into the settings module, which tells
   doveconf about them. Without, coi_settings_parse() reads them from the
   plugin section. */

#include "coi-config.h"
#include "coi-settings.h"

struct event;

extern const struct setting_parser_info coi_setting_parser_info;
extern const struct setting_parser_info coi_service_setting_parser_info;

#ifndef COI_HAVE_SETTINGS_GET

/* envs is the plugin section, as name and value in turn. Logs once a process
   what is called like a setting of ours and isn't one. The caller drops the
   reference to set->pool. Returns 0 if ok, -1 if a value can't be used. */
int coi_settings_parse(struct event *event, const char *const *envs,
		       unsigned int count, const struct coi_settings **set_r,
		       const char **error_r);

/* Likewise. It isn't kept. */
int coi_service_settings_parse(struct event *event, const char *const *envs,
			       unsigned int count,
			       const struct coi_service_settings **set_r,
			       const char **error_r);

/* Before the process ends: drops what is kept for the next user. */
void coi_settings_forget(void);

#endif

#endif
