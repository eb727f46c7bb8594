/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* doveadm coi ...: loaded by doveadm after the mail plugins, and left out where the
   one of ours isn't among them. */

#include "lib.h"
#include "array.h"
#include "str-sanitize.h"
#include "time-util.h"
#include "mail-user.h"
#include "doveadm.h"
#include "doveadm-print.h"
#include "doveadm-mail.h"
#include "coi-admin.h"
#include "coi-doveadm-compat.h"

/* A client's text is UTF-8 of up to 128 octets. */
#define COI_DOVEADM_TEXT_MAX_CHARS 128
/* that of a host, and some */
#define COI_DOVEADM_SERVICE_MAX_CHARS 300
#define COI_DOVEADM_TIME_FORMAT "%Y-%m-%d %H:%M:%S"

void doveadm_coi_plugin_init(struct module *module);
void doveadm_coi_plugin_deinit(void);

COI_EXPORT const char *doveadm_coi_plugin_version = DOVECOT_ABI_VERSION;

static int cmd_coi_failed(struct doveadm_mail_cmd_context *ctx,
			  struct mail_user *user, const char *error)
{
	e_error(user->event, "coi: %s", error);
	doveadm_mail_failed_error(ctx, MAIL_ERROR_TEMP);
	return -1;
}

static void coi_print_count(int count)
{
	if (count < 0)
		doveadm_print("-");
	else
		doveadm_print_num(count);
}

static void coi_print_or_none(const char *text)
{
	doveadm_print(text == NULL ? "-" : text);
}

static void coi_print_text(const char *text)
{
	doveadm_print(str_sanitize_utf8(text, COI_DOVEADM_TEXT_MAX_CHARS));
}

static int
cmd_coi_status_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct coi_admin_status status;
	const char *error;

	if (coi_admin_get_status(user, &status, &error) < 0)
		return cmd_coi_failed(ctx, user, error);
	doveadm_print(status.excluded ? "off" : status.enabled ? "yes" : "no");
	coi_print_or_none(status.filter);
	coi_print_or_none(status.root);
	coi_print_count(status.chats);
	coi_print_count(status.contacts);
	coi_print_count(status.subscriptions);
	coi_print_count(status.device_tokens);
	return 0;
}

static void cmd_coi_status_init(COI_DOVEADM_INIT_PARAMS)
{
	doveadm_print_header_simple("enabled");
	doveadm_print_header_simple("filter");
	doveadm_print_header_simple("root");
	doveadm_print_header("chats", "chats",
			     DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY);
	doveadm_print_header("contacts", "contacts",
			     DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY);
	doveadm_print_header("subscriptions", "subscriptions",
			     DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY);
	doveadm_print_header("device_tokens", "tokens",
			     DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY);
}

static struct doveadm_mail_cmd_context *cmd_coi_status_alloc(void)
{
	struct doveadm_mail_cmd_context *ctx;

	ctx = doveadm_mail_cmd_alloc(struct doveadm_mail_cmd_context);
	ctx->v.init = cmd_coi_status_init;
	ctx->v.run = cmd_coi_status_run;
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	return ctx;
}

static void coi_print_subscription(const struct coi_admin_subscription *sub)
{
	const struct coi_subscription_info *info = &sub->info;

	doveadm_print(sub->id);
	doveadm_print(info->is_device_token ? "token" : info->msgtype);
	doveadm_print(info->validated ? "yes" : "no");
	doveadm_print(t_strflocaltime(COI_DOVEADM_TIME_FORMAT, info->created));
	coi_print_text(info->is_device_token ? "-" : info->push_service);
	coi_print_text(info->client);
	coi_print_text(info->device);
}

static int cmd_coi_subscriptions_run(struct doveadm_mail_cmd_context *ctx,
				     struct mail_user *user)
{
	ARRAY_TYPE(coi_admin_subscription) subs;
	const struct coi_admin_subscription *sub;
	const char *error;

	t_array_init(&subs, 16);
	if (coi_admin_get_subscriptions(user, &subs, &error) < 0)
		return cmd_coi_failed(ctx, user, error);
	array_foreach(&subs, sub)
		coi_print_subscription(sub);
	return 0;
}

static void cmd_coi_subscriptions_init(COI_DOVEADM_INIT_PARAMS)
{
	doveadm_print_header_simple("id");
	doveadm_print_header_simple("msgtype");
	doveadm_print_header_simple("validated");
	doveadm_print_header_simple("created");
	doveadm_print_header("push_service", "push service", 0);
	doveadm_print_header_simple("client");
	doveadm_print_header_simple("device");
}

static struct doveadm_mail_cmd_context *cmd_coi_subscriptions_alloc(void)
{
	struct doveadm_mail_cmd_context *ctx;

	ctx = doveadm_mail_cmd_alloc(struct doveadm_mail_cmd_context);
	ctx->v.init = cmd_coi_subscriptions_init;
	ctx->v.run = cmd_coi_subscriptions_run;
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	return ctx;
}

static void coi_print_queue_row(const struct coi_admin_queue_row *row)
{
	unsigned int i;

	doveadm_print(
		str_sanitize_utf8(row->service, COI_DOVEADM_SERVICE_MAX_CHARS));
	for (i = 0; i < COI_QUEUE_NUMBERS; i++) {
		int64_t number = row->numbers[i];

		if (number < 0 || (number == 0 && i == COI_QUEUE_OLDEST))
			doveadm_print("-");
		else if (number == 0 && i == COI_QUEUE_NEXT)
			doveadm_print("now");
		else if (i == COI_QUEUE_NEXT || i == COI_QUEUE_OLDEST)
			doveadm_print(t_strflocaltime(COI_DOVEADM_TIME_FORMAT,
						      (time_t)number));
		else
			doveadm_print_num((uintmax_t)number);
	}
}

/* Dovecot 2.3 has left its server the user's whose command came before in the same
   request, and coi-push knows root by the effective user. */
static void coi_doveadm_restore_root(void)
{
	if (getuid() == 0 && geteuid() != 0 && seteuid(0) < 0)
		i_error("coi: seteuid(0) failed: %m");
}

static void cmd_coi_queue(struct doveadm_cmd_context *cctx ATTR_UNUSED)
{
	static const char *const titles[COI_QUEUE_NUMBERS] = {
		"waiting", "sending", "delivered", "deferred",
		"dropped", "gone",    "failures"
	};
	ARRAY_TYPE(coi_admin_queue) queue;
	const struct coi_admin_queue_row *row;
	const char *error;
	unsigned int i;

	coi_doveadm_restore_root();
	t_array_init(&queue, 16);
	if (coi_admin_get_queue(doveadm_settings->base_dir, &queue, &error) <
	    0) {
		coi_doveadm_error(cctx, "coi: %s", error);
		doveadm_exit_code = EX_TEMPFAIL;
		return;
	}
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	doveadm_print_header_simple("service");
	for (i = 0; i <= COI_QUEUE_FAILURES; i++)
		doveadm_print_header(titles[i], titles[i],
				     DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY);
	doveadm_print_header_simple("next");
	doveadm_print_header_simple("oldest");
	array_foreach(&queue, row)
		coi_print_queue_row(row);
}

static struct doveadm_cmd_ver2 coi_commands[] = {
	{ .name = "coi status",
	  .usage = DOVEADM_CMD_MAIL_USAGE_PREFIX,
	  .mail_cmd = cmd_coi_status_alloc,
	  DOVEADM_CMD_PARAMS_START DOVEADM_CMD_MAIL_COMMON
		  DOVEADM_CMD_PARAMS_END },
	{ .name = "coi subscriptions",
	  .usage = DOVEADM_CMD_MAIL_USAGE_PREFIX,
	  .mail_cmd = cmd_coi_subscriptions_alloc,
	  DOVEADM_CMD_PARAMS_START DOVEADM_CMD_MAIL_COMMON
		  DOVEADM_CMD_PARAMS_END },
	{ .name = "coi queue",
	  .usage = "",
	  .cmd = cmd_coi_queue,
	  DOVEADM_CMD_PARAMS_START DOVEADM_CMD_PARAMS_END },
};

COI_EXPORT void doveadm_coi_plugin_init(struct module *module ATTR_UNUSED)
{
	for (unsigned int i = 0; i < N_ELEMENTS(coi_commands); i++)
		doveadm_cmd_register_ver2(&coi_commands[i]);
}

COI_EXPORT void doveadm_coi_plugin_deinit(void)
{
}
