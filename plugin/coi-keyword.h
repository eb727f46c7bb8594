/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_KEYWORD_H
#define COI_KEYWORD_H

#include "mail-index.h"

/* The keyword that marks chat mail (DET-6). */
#define COI_KEYWORD "$Chat"

struct mail;
struct mailbox;
struct mail_keywords;
struct mail_save_context;

/* Adds the keyword to the mail that is being saved. */
void coi_keyword_add(struct mail_save_context *ctx);

/* Finds the index of the keyword in the mailbox. Returns FALSE if no mail
   there can have it. */
bool coi_keyword_lookup(struct mailbox *box, unsigned int *idx_r);

bool coi_keyword_in_mail(struct mail *mail, unsigned int idx);
bool coi_keyword_in_indexes(const ARRAY_TYPE(keyword_indexes) *indexes,
			    unsigned int idx);
bool coi_keyword_in_keywords(const struct mail_keywords *keywords,
			     unsigned int idx);

#endif
