/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/*
 * The hook is the outermost one: it decides where a mail goes by default, and
 * then lets Sieve and Dovecot's own delivery do the rest. So Sieve's keep means
 * the Chats folder (or Blocked), and what a script says explicitly is done
 * (FIL-5).
 *
 * A folder of ours must never cost a mail (FIL-6). It is opened before it is
 * made the default. If storing to it fails all the same, the mail is stored
 * where it would have gone by default without COI.
 */

#include "lib.h"
#include "lib-event-private.h"
#include "master-service.h"
#include "str-sanitize.h"
#include "mail-storage-private.h"
#include "mail-deliver.h"
#include "lda-settings.h"
#include "coi-compat.h"
#include "coi-contacts.h"
#include "coi-core.h"
#include "coi-folders.h"
#include "coi-headers.h"
#include "coi-metadata.h"
#include "coi-raise.h"
#include "coi-user.h"
#include "coi-deliver.h"

/* They are in libdovecot-lda, which only delivering processes have. */
#pragma weak mail_deliver_hook_set
#pragma weak mail_deliver_save

/* Dovecot says so where anything hooks deliveries, and then at each of them. */
#define NO_HOME_MESSAGE \
	"doesn't have home dir set, disabling duplicate database"

/* The hooks that ours is set over. The first one was there when the plugin was loaded;
   Sieve's may come later, where only the userdb gives it to a user, and calls no other.
   One that does call ours is to get to the one before it. */
#define DELIVER_HOOKS_MAX 4
static deliver_mail_func_t *deliver_hooks[DELIVER_HOOKS_MAX];
static unsigned int deliver_hooks_count, deliver_hooks_depth;

static bool deliver_hides_no_home;

static deliver_mail_func_t *coi_deliver_get_next(void)
{
	return deliver_hooks_depth >= deliver_hooks_count ?
		NULL :
		deliver_hooks[deliver_hooks_count - 1 - deliver_hooks_depth];
}

static int coi_deliver_call_next(struct mail_deliver_context *ctx,
				 struct mail_storage **storage_r)
{
	deliver_mail_func_t *next = coi_deliver_get_next();
	int ret;

	if (next == NULL)
		return 0;
	deliver_hooks_depth++;
	ret = next(ctx, storage_r);
	deliver_hooks_depth--;
	return ret;
}

/* A second From makes Dovecot's parser find all of them. */
static const char *const *
coi_deliver_get_from(struct mail *mail, const struct coi_bytes values[2])
{
	const char *const *all = NULL;
	const char **from;

	if (values[1].data != NULL)
		all = coi_headers_find_all(mail, "From");
	if (all != NULL)
		return all;
	from = t_new(const char *, 3);
	from[0] = values[0].data;
	from[1] = values[1].data;
	return from;
}

/* from_r is left alone where nobody wants it. */
static enum coi_chat_rule
coi_deliver_detect(struct mail_deliver_context *ctx, const char *const **from_r)
{
	const char *names[3 + 2 + 2 + 1] = { "Chat-Version", "Message-ID",
					     "References" };
	const struct coi_core *core = coi_core_get(ctx->event);
	const struct coi_user *cuser = COI_USER_CONTEXT(ctx->rcpt_user);
	const bool encrypted = (cuser->chat_rules &
				1U << COI_CHAT_RULE_ENCRYPTED) != 0;
	struct coi_bytes values[N_ELEMENTS(names)];
	struct coi_chat_headers hdr;
	unsigned int count = 3;

	if (core == NULL)
		return COI_CHAT_RULE_NONE;
	if (encrypted) {
		names[count++] = "Content-Type";
		names[count++] = "Subject";
	}
	if (from_r != NULL)
		names[count] = names[count + 1] = "From";
	coi_headers_find(core, ctx->src_mail, names, values);
	i_zero(&hdr);
	hdr.chat_version = values[0];
	hdr.message_id = values[1];
	hdr.references = values[2];
	if (encrypted) {
		hdr.content_type = values[3];
		hdr.subject = values[4];
	}
	if (from_r != NULL)
		*from_r = coi_deliver_get_from(ctx->src_mail, &values[count]);
	return core->chat_detect(&hdr, cuser->chat_rules);
}

/* Where the mail would go unless something else happens. */
enum coi_deliver_place {
	COI_DELIVER_INBOX,
	COI_DELIVER_CHATS,
	COI_DELIVER_CONTACTS,
	/* an explicit choice, which stays (FIL-9) */
	COI_DELIVER_OTHER,
};

static enum coi_deliver_place
coi_deliver_get_place(struct mail_deliver_context *ctx)
{
	struct mail_user *user = ctx->rcpt_user;
	const char *vname = ctx->rcpt_default_mailbox;
	enum coi_deliver_place place = COI_DELIVER_OTHER;
	struct mailbox *box;

	if (strcasecmp(vname, "INBOX") == 0)
		return COI_DELIVER_INBOX;
	box = mailbox_alloc_for_user(user, vname, 0);
	if (box->inbox_user)
		place = COI_DELIVER_INBOX;
	else if (coi_folder_is(box, coi_folder_chats(user)))
		place = COI_DELIVER_CHATS;
	else if (coi_folder_is(box, coi_folder_contacts(user)))
		place = COI_DELIVER_CONTACTS;
	mailbox_free(&box);
	return place;
}

/* A folder that isn't there is no choice: Dovecot takes INBOX then. */
static bool coi_deliver_is_there(struct mail_deliver_context *ctx)
{
	enum mailbox_existence existence = MAILBOX_EXISTENCE_NONE;
	struct mailbox *box;

	if (ctx->set->lda_mailbox_autocreate)
		return TRUE;
	box = mailbox_alloc_for_user(ctx->rcpt_user, ctx->rcpt_default_mailbox,
				     0);
	(void)mailbox_exists(box, TRUE, &existence);
	mailbox_free(&box);
	return existence == MAILBOX_EXISTENCE_SELECT;
}

/* of those that may have to be made */
static enum coi_folder_flags
coi_deliver_folder_flags(struct mail_user *user, const char *vname)
{
	return strcmp(vname, coi_folder_chats(user)) == 0 ?
		COI_FOLDER_SUBSCRIBE_NEW :
		0;
}

/* Makes sure that the folder is there. Before Sieve runs, also that it can be
   opened: where Sieve can't open the default folder, it fails in a way that
   can't be told from other failures of the script. Without Sieve, storing the
   mail tells, and a folder isn't opened twice. */
static bool
coi_deliver_folder_usable(struct mail_deliver_context *ctx, const char *vname)
{
	enum coi_folder_flags flags = coi_deliver_folder_flags(ctx->rcpt_user,
							       vname);
	enum mail_error code = MAIL_ERROR_NONE;
	struct mailbox *box;
	const char *error;
	int ret;

	if (coi_deliver_get_next() == NULL) {
		ret = coi_folder_exists(ctx->rcpt_user, vname) ?
			0 :
			coi_folder_ensure(ctx->rcpt_user, vname, flags, NULL,
					  &code, &error, &error);
	} else {
		ret = coi_folder_open(ctx->rcpt_user, vname,
				      flags | COI_FOLDER_SAVE_ONLY, &box, &code,
				      &error);
		if (ret == 0)
			mailbox_free(&box);
	}
	if (ret == 0)
		return TRUE;
	error = t_strdup_printf("coi: Can't open %s, "
				"so the mail goes where other mail goes: %s",
				str_sanitize(vname, 200), error);
	/* of the number of folders (quota_mailbox_count), which is meant */
	if (code == MAIL_ERROR_LIMIT)
		e_info(ctx->event, "%s", error);
	else
		e_error(ctx->event, "%s", error);
	return FALSE;
}

/* What Dovecot does after its hooks: TRUE if it would answer with a temporary
   failure right away. */
static bool coi_deliver_is_tempfailed(struct mail_deliver_context *ctx,
				      struct mail_storage *storage)
{
	enum mail_error error = MAIL_ERROR_NONE;

	if (storage != NULL)
		(void)mail_storage_get_last_error(storage, &error);
	return ctx->tempfail_error != NULL || error == MAIL_ERROR_TEMP;
}

static int coi_deliver_next(struct mail_deliver_context *ctx,
			    struct mail_storage **storage_r)
{
	int ret = coi_deliver_call_next(ctx, storage_r);

	if (ret > 0 || ctx->saved_mail || ctx->tried_default_save ||
	    coi_deliver_is_tempfailed(ctx, *storage_r))
		return ret;
	/* What our caller would do next. Done here, to know how it ends. */
	return mail_deliver_save(ctx, ctx->rcpt_default_mailbox, 0, NULL,
				 storage_r) < 0 ?
		-1 :
		1;
}

/* Returns FALSE if the mailbox is full, or the mail larger than any may be: that is the
   user's affair. Should it be the folder's alone, Dovecot tries INBOX next. */
static bool
coi_deliver_log_failure(struct mail_deliver_context *ctx, const char *vname,
			struct mail_storage *storage)
{
	enum mail_error code = MAIL_ERROR_TEMP;
	const char *error = storage == NULL ?
		"Unknown error" :
		mail_storage_get_last_internal_error(storage, &code);

	if (code == MAIL_ERROR_NOQUOTA || coi_compat_error_is_size(code))
		return FALSE;
	e_error(ctx->event,
		"coi: Can't store to %s, "
		"so the mail goes where other mail goes: %s",
		str_sanitize(vname, 200), error);
	return TRUE;
}

/* After something has failed. */
static int coi_deliver_save(struct mail_deliver_context *ctx, const char *vname,
			    struct mail_storage **storage_r)
{
	ctx->rcpt_default_mailbox = p_strdup(ctx->pool, vname);
	ctx->tempfail_error = NULL;
	*storage_r = NULL;
	return mail_deliver_save(ctx, vname, 0, NULL, storage_r) < 0 ? -1 : 1;
}

/* What looked like the folder may be a directory that only has others in it.
   Returns TRUE if it was that, and the mail is now stored. */
static bool
coi_deliver_make_and_save(struct mail_deliver_context *ctx, const char *vname,
			  struct mail_storage **storage_r)
{
	enum mail_error code = MAIL_ERROR_NONE;
	const char *error;

	if (*storage_r != NULL)
		(void)mail_storage_get_last_error(*storage_r, &code);
	if (code != MAIL_ERROR_NOTFOUND ||
	    coi_folder_ensure(ctx->rcpt_user, vname,
			      coi_deliver_folder_flags(ctx->rcpt_user, vname),
			      NULL, NULL, &error, &error) < 0)
		return FALSE;
	return coi_deliver_save(ctx, vname, storage_r) > 0;
}

/* After storing to the folder has failed; ret says how. fallback may be NULL. */
static int
coi_deliver_elsewhere(struct mail_deliver_context *ctx, const char *vname,
		      const char *fallback, const char *last_mailbox, int ret,
		      struct mail_storage **storage_r)
{
	if (coi_deliver_make_and_save(ctx, vname, storage_r))
		return 1;

	/* It is our folder that failed. Sieve isn't asked again: what it has
	   done elsewhere (a redirect, a copy) stays done. If a limit is
	   reached, Dovecot's answer to that is the right one. */
	if (!coi_deliver_log_failure(ctx, vname, *storage_r))
		return ret;
	if (fallback != NULL) {
		ret = coi_deliver_save(ctx, fallback, storage_r);
		if (ret > 0 ||
		    !coi_deliver_log_failure(ctx, fallback, *storage_r))
			return ret;
	}
	return coi_deliver_save(ctx, last_mailbox, storage_r);
}

static int coi_deliver_to(struct mail_deliver_context *ctx, const char *vname,
			  const char *fallback, struct mail_storage **storage_r)
{
	const char *orig_mailbox = ctx->rcpt_default_mailbox;
	int ret;

	ctx->rcpt_default_mailbox = p_strdup(ctx->pool, vname);
	ret = coi_deliver_next(ctx, storage_r);
	if (ret > 0 || ctx->saved_mail || !ctx->tried_default_save)
		return ret;
	return coi_deliver_elsewhere(ctx, vname, fallback, orig_mailbox, ret,
				     storage_r);
}

/* TRUE if no mail could be stored in the folder that was chosen, so that Dovecot would
   take INBOX. */
static bool coi_deliver_goes_to_inbox(struct mail_deliver_context *ctx, int ret,
				      struct mail_storage *storage)
{
	return ret <= 0 && !ctx->saved_mail && ctx->tried_default_save &&
		!coi_deliver_is_tempfailed(ctx, storage);
}

static int
coi_deliver_instead(struct mail_deliver_context *ctx, const char *vname,
		    const char *fallback, struct mail_storage **storage_r)
{
	int ret = coi_deliver_save(ctx, vname, storage_r);

	return ret > 0 ? ret :
			 coi_deliver_elsewhere(ctx, vname, fallback, "INBOX",
					       ret, storage_r);
}

static void
coi_deliver_send_event(struct mail_deliver_context *ctx,
		       enum coi_chat_rule rule, enum coi_filter filter)
{
	const struct coi_core *core = coi_core_get(ctx->event);
	struct event_passthrough *e;

	e = event_create_passthrough(ctx->event)
		    ->set_name("coi_chat_delivered")
		    ->add_str("rule", core->chat_rule_name(rule))
		    ->add_str("filter", coi_filter_name(filter));
	e_debug(e->event(), "coi: Delivered a chat mail (rule %s, filter %s)",
		core->chat_rule_name(rule), coi_filter_name(filter));
}

/* Returns TRUE if the user has a Contacts folder. Contacts are the user's own to
   write: they say who is blocked. So an address with a detail doesn't reach
   them, whether the user has COI already or not. dovecot-lda -m, which the user
   or the admin has written, does. */
static bool coi_deliver_check_contacts(struct mail_deliver_context *ctx,
				       enum coi_deliver_place *place)
{
	if (*place == COI_DELIVER_CONTACTS &&
	    strcmp(master_service_get_name(master_service), "lmtp") == 0) {
		ctx->rcpt_default_mailbox = "INBOX";
		*place = COI_DELIVER_INBOX;
	}
	return coi_folder_exists(ctx->rcpt_user,
				 coi_folder_contacts(ctx->rcpt_user));
}

static bool coi_deliver_is_blocked(struct mail_deliver_context *ctx,
				   const char *const *from)
{
	static bool logged = FALSE;
	const char *error;
	int ret;

	ret = coi_contacts_is_blocked(ctx->rcpt_user, from, &error);
	if (ret < 0 && !logged) {
		logged = TRUE;
		e_error(ctx->event,
			"coi: Can't read the contacts, "
			"so nobody counts as blocked: %s",
			error);
	}
	return ret > 0;
}

/* Returns the folder that the mail goes to instead, or NULL; and the one where it goes
   if that fails, likewise. The place becomes INBOX where the folder isn't there. from has
   the senders that may be blocked; it is NULL if there are no contacts. */
static const char *
coi_deliver_get_folder(struct mail_deliver_context *ctx,
		       enum coi_deliver_place *place, enum coi_chat_rule rule,
		       const char *const *from, const struct coi_config *config,
		       const char **fallback_r)
{
	struct mail_user *user = ctx->rcpt_user;
	bool blocked = from != NULL && *from != NULL &&
		coi_deliver_is_blocked(ctx, from);
	const char *vname, *chats = NULL;

	*fallback_r = NULL;

	/* wherever it goes */
	if (blocked)
		coi_raise_delivery_cancel(user);
	if (*place != COI_DELIVER_INBOX && !coi_deliver_is_there(ctx))
		*place = COI_DELIVER_INBOX;
	if (*place == COI_DELIVER_INBOX && rule != COI_CHAT_RULE_NONE &&
	    config->filter == COI_FILTER_ACTIVE)
		chats = coi_folder_chats(user);
	if (blocked &&
	    (*place == COI_DELIVER_INBOX || *place == COI_DELIVER_CHATS)) {
		vname = coi_folder_blocked(user);
		if (coi_deliver_folder_usable(ctx, vname)) {
			*fallback_r = chats;
			return vname;
		}
	}
	return chats != NULL && coi_deliver_folder_usable(ctx, chats) ? chats :
									NULL;
}

/* Whose turn it is; for comparison only. */
static const struct mail_user *deliver_rcpt_user;

static int coi_deliver_mail(struct mail_deliver_context *ctx,
			    struct mail_storage **storage_r)
{
	struct coi_user *cuser = COI_USER_CONTEXT(ctx->rcpt_user);
	enum coi_deliver_place place = COI_DELIVER_INBOX;
	enum coi_chat_rule rule = COI_CHAT_RULE_NONE;
	const char *const *from = NULL;
	bool have_contacts = FALSE;
	struct coi_config config;
	const char *vname, *fallback;
	int ret;

	deliver_rcpt_user = ctx->rcpt_user;
	if (cuser != NULL) {
		/* Both stay set: where we leave a delivery to our caller, it
		   stores the mail after we have returned. */
		cuser->delivering = TRUE;
		cuser->have_inbox = FALSE;
		guid_128_empty(cuser->inbox_guid);
		cuser->dict_looked_for = FALSE;
		cuser->dict_is_missing = FALSE;
		cuser->dict_error = NULL;
		cuser->dict_entries = NULL;
		cuser->delivering_chat = FALSE;
		coi_raise_delivery_begin(ctx->rcpt_user, ctx->event,
					 ctx->src_mail);
		if (coi_user_settings(ctx->rcpt_user) != NULL) {
			place = coi_deliver_get_place(ctx);
			have_contacts = coi_deliver_check_contacts(ctx, &place);
			/* then there is one */
			cuser->dict_looked_for = have_contacts;
			rule = coi_deliver_detect(ctx,
						  have_contacts ? &from : NULL);
		}
	}
	if ((rule == COI_CHAT_RULE_NONE && !have_contacts) ||
	    coi_config_read(ctx->rcpt_user, NULL, &config) < 0 ||
	    !config.enabled) {
		return coi_deliver_call_next(ctx, storage_r);
	}

	cuser->delivering_chat = rule != COI_CHAT_RULE_NONE;
	vname = coi_deliver_get_folder(ctx, &place, rule, from, &config,
				       &fallback);
	if (vname != NULL)
		ret = coi_deliver_to(ctx, vname, fallback, storage_r);
	else
		ret = coi_deliver_next(ctx, storage_r);
	if (place == COI_DELIVER_OTHER &&
	    coi_deliver_goes_to_inbox(ctx, ret, *storage_r)) {
		place = COI_DELIVER_INBOX;
		vname = coi_deliver_get_folder(ctx, &place, rule, from, &config,
					       &fallback);
		if (vname != NULL) {
			ret = coi_deliver_instead(ctx, vname, fallback,
						  storage_r);
		}
	}
	if (ret > 0 && rule != COI_CHAT_RULE_NONE)
		coi_deliver_send_event(ctx, rule, config.filter);
	return ret;
}

static int coi_deliver_mail_and_push(struct mail_deliver_context *ctx,
				     struct mail_storage **storage_r)
{
	int ret;

	if (deliver_hooks_depth > 0)
		return coi_deliver_call_next(ctx, storage_r);
	ret = coi_deliver_mail(ctx, storage_r);
	coi_raise_delivery_end(ctx->rcpt_user);
	return ret;
}

bool coi_deliver_hides_chat(struct mail_user *user)
{
	return user != deliver_rcpt_user;
}

static bool ATTR_FORMAT(4, 0)
	coi_deliver_filter_log(struct event *event ATTR_UNUSED,
			       enum event_callback_type type,
			       struct failure_context *ctx, const char *fmt,
			       va_list args)
{
	va_list args_copy;
	bool hide;

	if (type != EVENT_CALLBACK_TYPE_SEND || ctx->type != LOG_TYPE_ERROR)
		return TRUE;
	VA_COPY(args_copy, args);
	T_BEGIN {
		hide = strstr(t_strdup_vprintf(fmt, args_copy),
			      NO_HOME_MESSAGE) != NULL;
	}
	T_END;
	va_end(args_copy);
	return !hide;
}

static void coi_deliver_set_hook(void)
{
	deliver_mail_func_t *outer =
		mail_deliver_hook_set(coi_deliver_mail_and_push);

	if (outer == coi_deliver_mail_and_push)
		return;
	if (deliver_hooks_count < N_ELEMENTS(deliver_hooks))
		deliver_hooks[deliver_hooks_count++] = outer;
	else
		(void)mail_deliver_hook_set(outer);
}

/* Sieve uses that database, and there the admin is to know; we don't. */
static void coi_deliver_hide_no_home(struct mail_user *user)
{
	const char *home;

	if (coi_deliver_get_next() != NULL || deliver_hides_no_home ||
	    mail_user_get_home(user, &home) != 0)
		return;
	deliver_hides_no_home = TRUE;
	event_register_callback(coi_deliver_filter_log);
}

/* By then all of the user's plugins are loaded. */
void coi_deliver_user_created(struct mail_user *user)
{
	if (mail_deliver_hook_set != NULL) {
		coi_deliver_set_hook();
		coi_deliver_hide_no_home(user);
	}
}

void coi_deliver_init(void)
{
	if (mail_deliver_hook_set != NULL)
		coi_deliver_set_hook();
}

void coi_deliver_deinit(void)
{
	if (deliver_hides_no_home)
		event_unregister_callback(coi_deliver_filter_log);
	deliver_hides_no_home = FALSE;
	if (mail_deliver_hook_set != NULL)
		(void)mail_deliver_hook_set(deliver_hooks[0]);
	deliver_hooks_count = 0;
}
