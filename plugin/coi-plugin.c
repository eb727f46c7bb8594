/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/*
 * One module for every mail process. DESIGN's three (all, delivery, IMAP) are
 * files here and not modules, for the configuration's sake: in Dovecot 2.3 a
 * "protocol x { mail_plugins = $mail_plugins .. }" of ours would freeze the
 * list at the place where our file is read, and lose what the admin adds
 * further down. So there is one name, added to the global list only, and what
 * belongs to one kind of process is set up where that process has the symbols
 * for it (weak references, see coi-deliver.c and coi-imap.c).
 */

#include "lib.h"
#include "module-dir.h"
#include "mail-user.h"
#include "mail-storage-hooks.h"
#include "coi-core.h"
#include "coi-compat.h"
#include "coi-deliver.h"
#include "coi-handoff.h"
#include "coi-imap.h"
#include "coi-list-notify.h"
#include "coi-mailbox.h"
#include "coi-metadata.h"
#include "coi-user.h"
#include "coi-webpush.h"
#include "coi-plugin.h"

COI_EXPORT const char *coi_plugin_version = DOVECOT_ABI_VERSION;

static struct mail_storage_hooks coi_mail_storage_hooks = {
	.mail_user_created = coi_mail_user_created,
	.mailbox_list_created = coi_list_notify_created,
	.mailbox_allocated = coi_mailbox_allocated,
	.mail_allocated = coi_mail_allocated,
};

COI_EXPORT void coi_plugin_init(struct module *module)
{
	coi_core_init(module->path);
	mail_storage_hooks_add(module, &coi_mail_storage_hooks);
	coi_metadata_init();
	coi_webpush_init();
	coi_deliver_init();
	coi_imap_init(module);
}

COI_EXPORT void coi_plugin_deinit(void)
{
	coi_imap_deinit();
	coi_deliver_deinit();
	coi_webpush_deinit();
	coi_handoff_deinit();
	coi_metadata_deinit();
	mail_storage_hooks_remove(&coi_mail_storage_hooks);
	coi_compat_deinit();
	coi_core_deinit();
}
