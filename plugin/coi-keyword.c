/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "array.h"
#include "mail-storage-private.h"
#include "coi-keyword.h"

void coi_keyword_add(struct mail_save_context *ctx)
{
	static const char *const names[] = { COI_KEYWORD, NULL };
	struct mailbox *box = ctx->transaction->box;
	struct mail_keywords *keywords, *merged;
	unsigned int idx;

	/* Only what isn't there yet: where two lists that are merged share a
	   keyword, Dovecot may drop another one. */
	if (ctx->data.keywords != NULL && coi_keyword_lookup(box, &idx) &&
	    coi_keyword_in_keywords(ctx->data.keywords, idx))
		return;

	keywords = mailbox_keywords_create_valid(box, names);
	if (ctx->data.keywords != NULL) {
		merged = mailbox_keywords_merge(keywords, ctx->data.keywords);
		mailbox_keywords_unref(&keywords);
		keywords = merged;
	}
	mailbox_save_set_flags(ctx, ctx->data.flags | ctx->data.pvt_flags,
			       keywords);
	mailbox_keywords_unref(&keywords);
}

bool coi_keyword_lookup(struct mailbox *box, unsigned int *idx_r)
{
	return mail_index_keyword_lookup(box->index, COI_KEYWORD, idx_r);
}

bool coi_keyword_in_indexes(const ARRAY_TYPE(keyword_indexes) *indexes,
			    unsigned int idx)
{
	unsigned int elem;

	array_foreach_elem(indexes, elem) {
		if (elem == idx)
			return TRUE;
	}
	return FALSE;
}

bool coi_keyword_in_mail(struct mail *mail, unsigned int idx)
{
	return coi_keyword_in_indexes(mail_get_keyword_indexes(mail), idx);
}

bool coi_keyword_in_keywords(const struct mail_keywords *keywords,
			     unsigned int idx)
{
	for (unsigned int i = 0; i < keywords->count; i++) {
		if (keywords->idx[i] == idx)
			return TRUE;
	}
	return FALSE;
}
