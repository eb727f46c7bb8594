/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "imap-common.h"
#include "ostream.h"
#include "str.h"
#include "coi-compat.h"
#include "coi-device-token.h"
#include "coi-notify.h"
#include "coi-seen.h"
#include "coi-user.h"
#include "coi-imap.h"

/* They are in the imap binary only. */
#pragma weak imap_client_created_hook_set
#pragma weak command_hook_register
#pragma weak command_hook_unregister
#pragma weak client_add_capability
#pragma weak imap_clients
#pragma weak imap_module_register

#define COI_CLIENT_CONTEXT(obj) MODULE_CONTEXT_REQUIRE(obj, coi_imap_module)
static MODULE_CONTEXT_DEFINE_INIT(coi_imap_module, &imap_module_register);

static struct module *coi_module;
static imap_client_created_func_t *next_hook_client_created;

static void coi_imap_add_push(struct client *client)
{
	const struct coi_settings *set = coi_user_settings(client->user);

	if (set->coi_push && set->coi_push_capability[0] != '\0')
		client_add_capability(client, set->coi_push_capability);
	if (coi_device_token_is_offered(client->user))
		client_add_capability(client, "XDELTAPUSH");
}

/* Delta Chat's entry hangs on INBOX, and it sets it only where there is METADATA. */
static bool coi_imap_has_mailbox_entries(struct client *client)
{
	return client->set->imap_metadata ||
		coi_device_token_is_offered(client->user);
}

/* A client that idles may be handed to imap-hibernate, which watches the mailbox from
   then on. What has changed before and wasn't told would wait for the next change. So it
   is told first, and the client handed over when it has been idle again. */
static int coi_imap_state_export(struct client *client, bool internal,
				 buffer_t *dest, const char **error_r)
{
	union imap_module_context *ctx = COI_CLIENT_CONTEXT(client);
	int ret;

	ret = ctx->super.state_export(client, internal, dest, error_r);
	if (ret > 0 && client->mailbox != NULL &&
	    coi_notify_has_untold(client->mailbox)) {
		*error_r = "coi: There are changes to tell";
		return 0;
	}
	return ret;
}

static void coi_imap_override(struct client *client)
{
	union imap_module_context *ctx;

	ctx = p_new(client->pool, union imap_module_context, 1);
	ctx->super = client->v;
	client->v.state_export = coi_imap_state_export;
	MODULE_CONTEXT_SET_SELF(client, coi_imap_module, ctx);
}

static void coi_imap_add_capabilities(struct client *client)
{
	client_add_capability(client, "COI");
	coi_imap_add_push(client);
	/* Dovecot announces METADATA only with a dict of its own. Ours serves all
	   entries if the admin allows that, else those of ours, which are all
	   server entries (RFC 5464, 1). */
	if (strstr(str_c(client->capability_string), "METADATA") == NULL) {
		client_add_capability(client,
				      coi_imap_has_mailbox_entries(client) ?
					      "METADATA" :
					      "METADATA-SERVER");
	}
}

static void coi_imap_client_created(struct client **_client)
{
	struct client *client = *_client;

	if (mail_user_is_plugin_loaded(client->user, coi_module)) {
		coi_imap_override(client);
		if (coi_user_is_offered(client->user))
			coi_imap_add_capabilities(client);
	}
	if (next_hook_client_created != NULL)
		next_hook_client_created(_client);
}

/* With "UID" in front, too. By its name, as a command that goes on when the client has
   read some has another function, and one that waits for a sync has none. */
static bool
coi_imap_is_command(const struct client_command_context *cmd, const char *name)
{
	const char *cmd_name = cmd->name;

	if (cmd_name == NULL)
		return FALSE;
	if (strncasecmp(cmd_name, "UID ", 4) == 0)
		cmd_name += 4;
	return strcasecmp(cmd_name, name) == 0;
}

/* Those that a client may say between two pieces of a mail, or of the mail. Thunderbird
   says CHECK behind each tenth that it gets. */
static bool coi_imap_goes_on(const struct client_command_context *cmd)
{
	static const char *const names[] = { "FETCH",	  "STORE", "COPY",
					     "MOVE",	  "CHECK", "EXPUNGE",
					     "CAPABILITY" };

	for (unsigned int i = 0; i < N_ELEMENTS(names); i++) {
		if (coi_imap_is_command(cmd, names[i]))
			return TRUE;
	}
	return FALSE;
}

static void coi_imap_before_command(struct client_command_context *cmd)
{
	struct mail_user *user = cmd->client->user;
	const struct coi_user *cuser = COI_USER_CONTEXT(user);

	if (cuser != NULL && cuser->seen_later != NULL &&
	    !coi_imap_goes_on(cmd))
		coi_seen_move_later(user);
}

static void coi_imap_after_command(struct client_command_context *cmd)
{
	struct mail_user *user = cmd->client->user;

	if (COI_USER_CONTEXT(user) != NULL)
		coi_seen_wait_anew(user);
}

void coi_imap_init(struct module *module)
{
	if (!coi_imap_is_here())
		return;
	coi_module = module;
	next_hook_client_created =
		imap_client_created_hook_set(coi_imap_client_created);
	command_hook_register(coi_imap_before_command, coi_imap_after_command);
}

void coi_imap_deinit(void)
{
	if (!coi_imap_is_here())
		return;
	command_hook_unregister(coi_imap_before_command,
				coi_imap_after_command);
	imap_client_created_hook_set(next_hook_client_created);
}

bool coi_imap_is_here(void)
{
	return imap_client_created_hook_set != NULL;
}

/* NULL where this isn't imap. */
static struct client *coi_imap_client(struct mail_user *user)
{
	struct client *client;

	if (!coi_imap_is_here())
		return NULL;
	for (client = imap_clients; client != NULL; client = client->next) {
		if (client->user == user)
			return client;
	}
	return NULL;
}

bool coi_imap_output_is_busy(struct mail_user *user)
{
	struct client *client = coi_imap_client(user);

	/* FETCH by NOTIFY takes no lock. */
	return client != NULL &&
		(client->output_cmd_lock != NULL ||
		 o_stream_get_buffer_used_size(client->output) > 0);
}

/* "BODY[" sets \Seen, as "BINARY[" does, and "BODY.PEEK[" doesn't. */
static bool coi_imap_fetches_a_piece(const char *args)
{
	static const char *const names[] = { "BODY[", "BINARY[" };
	const char *p;

	args = t_str_ucase(args);
	if (strstr(args, "RFC822.TEXT") != NULL)
		return TRUE;
	for (unsigned int i = 0; i < N_ELEMENTS(names); i++) {
		for (p = args; (p = strstr(p, names[i])) != NULL;) {
			p += strlen(names[i]);
			if (p[0] != ']' || p[1] == '<')
				return TRUE;
		}
	}
	return FALSE;
}

bool coi_imap_is_fetching_a_piece(struct mail_user *user)
{
	const struct client_command_context *cmd;
	const struct client *client = coi_imap_client(user);

	if (client == NULL)
		return FALSE;
	for (cmd = client->command_queue; cmd != NULL; cmd = cmd->next) {
		/* In a virtual folder it is by the sync behind it that INBOX gets
		   what it has set. */
		if (coi_imap_is_command(cmd, "FETCH") &&
		    (cmd->func != NULL || client->syncing) &&
		    cmd->human_args != NULL &&
		    coi_imap_fetches_a_piece(cmd->human_args))
			return TRUE;
	}
	return FALSE;
}

bool coi_imap_has_command(struct mail_user *user)
{
	const struct client *client = coi_imap_client(user);

	return client != NULL && client->command_queue != NULL;
}
