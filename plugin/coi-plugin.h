/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_PLUGIN_H
#define COI_PLUGIN_H

/* Entry points that Dovecot looks up by name in the module. */

/* What a module has for Dovecot, or for another module; all else is hidden. */
#define COI_EXPORT __attribute__((visibility("default")))

struct module;

void coi_plugin_init(struct module *module);
void coi_plugin_deinit(void);

extern const char *coi_plugin_version;

#endif
