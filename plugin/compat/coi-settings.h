/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_SETTINGS_H
#define COI_SETTINGS_H

/* The admin's settings, those of the mail processes and those of the service
   coi-push. Docs: docs/configure.md. */

#include "lib.h"

/* What mail processes look at. Its values may have variables of the user's in them. */
struct coi_settings {
	pool_t pool;

	/* Whether there is COI at all. */
	bool coi;
	/* Parent of the Chats and Contacts folders, below the prefix of the
	   inbox namespace, with that namespace's separator. */
	const char *coi_mailbox_root;

	/* What makes a mail a chat mail, names of rules (CLI-3). */
	const char *coi_chat_rules;

	/* Tell idle clients of changes at once (IDL-3). */
	bool coi_notify_instant;

	/* Offer push subscriptions, and hand deliveries to coi-push. */
	bool coi_push;
	/* The capability that announces them (CLI-5); empty for none. */
	const char *coi_push_capability;
	/* Offer push to Delta Chat (CLI-4), and the number of recipients that it
	   asks for beside. */
	bool coi_push_deltachat;
	unsigned int coi_push_deltachat_recipients;
	/* Push also what is stored by other means than a delivery. */
	bool coi_push_appended;
	/* A user's subscriptions, and how long one may wait to be validated. */
	unsigned int webpush_subscription_limit;
	unsigned int webpush_subscription_expire; /* secs */
	/* How long a delivery waits for coi-push before it uses the spool, and
	   a registration for the push service's answer. */
	unsigned int coi_push_handoff_timeout;	/* msecs */
	unsigned int coi_push_register_timeout; /* msecs */
	const char *coi_push_spool_dir;

#ifndef COI_HAVE_SETTINGS_GET
	/* coi-compat.c looks at it as it is set in plugin { } */
	const char *coi_attribute_dict;
#endif
};

/* What coi-push looks at, which is nobody's process: no more than it needs. See
   coi-relay.h, and above for what mail processes look at, too. */
struct coi_service_settings {
	pool_t pool;

	bool coi_push;
	bool coi_push_deltachat;
	const char *coi_push_deltachat_gateway;
	unsigned int coi_push_register_timeout; /* msecs */
	const char *coi_push_spool_dir;
	const char *coi_push_key_dir;
	const char *coi_push_queue_dir;
	const char *coi_push_vapid_subject;
	const char *coi_push_hosts;
	const char *coi_push_hosts_denied;
	const char *coi_push_hosts_http;
	const char *coi_push_networks;
	const char *coi_push_ssl_ca_file;
	unsigned int coi_push_ttl; /* secs */
	unsigned int coi_push_queue_limit;
	unsigned int coi_push_queue_user_limit;
	unsigned int coi_push_register_limit;
};

#define COI_DEFAULT_MAILBOX_ROOT "COI"
#define COI_DEFAULT_CHAT_RULES "chat-version message-id references"
#define COI_DEFAULT_PUSH TRUE
#define COI_DEFAULT_PUSH_DELTACHAT FALSE
#define COI_DEFAULT_PUSH_REGISTER_TIMEOUT (10 * 1000)
#define COI_DEFAULT_PUSH_SPOOL_DIR "/var/lib/dovecot-coi/spool"

#endif
