/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_DOVEADM_COMPAT_H
#define COI_DOVEADM_COMPAT_H

/* What differs between the Dovecot versions for a command of doveadm. */

#include "coi-config.h"

/* of init() of struct doveadm_mail_cmd_vfuncs; none is looked at */
#ifdef COI_HAVE_SETTINGS_GET
#define COI_DOVEADM_INIT_PARAMS struct doveadm_mail_cmd_context *ctx ATTR_UNUSED
#define coi_doveadm_error(cctx, ...) e_error((cctx)->event, __VA_ARGS__)
#else
#define coi_doveadm_error(cctx, ...) i_error(__VA_ARGS__)
#define COI_DOVEADM_INIT_PARAMS                           \
	struct doveadm_mail_cmd_context *ctx ATTR_UNUSED, \
		const char *const args[] ATTR_UNUSED
#endif

#endif
