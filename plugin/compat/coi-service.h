/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_SERVICE_H
#define COI_SERVICE_H

/* What differs between the Dovecot versions for a service of our own. */

#include "coi-settings.h"

struct event;
struct master_service;

/* Reads Dovecot's settings and ours, from the config process. Ours are good
   until coi_service_settings_free(). Returns 0 if ok, -1 if error. */
int coi_service_settings_read(struct master_service *service,
			      struct event *event,
			      const struct coi_service_settings **set_r,
			      const char **error_r);
void coi_service_settings_free(const struct coi_service_settings **set);

#endif
