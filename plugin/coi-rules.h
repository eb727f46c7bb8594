/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_RULES_H
#define COI_RULES_H

/* What CREATE, DELETE and RENAME of the Chats folder mean (ENA-6..11). Each
   function does the operation through super, so that it and what it means for
   COI succeed together or not at all. They hold for every way in, but not for
   dsync, which copies what another server has decided, and not for what a
   delivery does. */

struct mailbox;
struct mailbox_update;
union mailbox_module_context;

int coi_rules_create_box(union mailbox_module_context *ctx, struct mailbox *box,
			 const struct mailbox_update *update, bool directory);
int coi_rules_delete_box(union mailbox_module_context *ctx,
			 struct mailbox *box);
int coi_rules_rename_box(union mailbox_module_context *ctx, struct mailbox *src,
			 struct mailbox *dest);

#endif
