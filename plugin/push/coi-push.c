/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/*
 * The service coi-push: takes pushes from mail processes, and sends them. This
 * file is what makes it a service of Dovecot's: settings, privileges, log,
 * statistics, and stopping when the master does. The work is the relay's
 * (coi-relay.h), which knows nothing of Dovecot.
 *
 * It starts as root, as Dovecot's services do, makes its directories where they
 * are missing, and gives up root before it touches what is in them.
 */

#include "lib.h"
#include "hostpid.h"
#include "ioloop.h"
#include "lib-event-private.h"
#include "lib-signals.h"
#include "mkdir-parents.h"
#include "restrict-access.h"
#include "time-util.h"
#include "master-service.h"
#include "coi-relay.h"
#include "coi-service.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define COI_PUSH_START_MIN_SECS 2
#define COI_PUSH_START_MAX_SECS 60

static const struct coi_service_settings *coi_set;
static struct event *coi_event;
static struct coi_relay *relay;
static struct io *relay_io;
static struct timeout *start_timeout;
static unsigned int start_secs = COI_PUSH_START_MIN_SECS;

static void coi_push_log(void *context ATTR_UNUSED, enum coi_relay_log level,
			 const char *text)
{
	switch (level) {
	case COI_RELAY_LOG_DEBUG:
		e_debug(coi_event, "%s", text);
		break;
	case COI_RELAY_LOG_INFO:
		e_info(coi_event, "%s", text);
		break;
	case COI_RELAY_LOG_WARNING:
		e_warning(coi_event, "%s", text);
		break;
	case COI_RELAY_LOG_ERROR:
		e_error(coi_event, "%s", text);
		break;
	}
}

static const char *coi_push_outcome_name(enum coi_relay_outcome outcome)
{
	switch (outcome) {
	case COI_RELAY_DELIVERED:
		return "delivered";
	case COI_RELAY_DEFERRED:
		return "deferred";
	case COI_RELAY_DROPPED:
		return "dropped";
	case COI_RELAY_GONE:
		return "gone";
	}
	i_unreached();
}

static void
coi_push_sent(void *context ATTR_UNUSED, const struct coi_relay_event *event)
{
	struct event *push = event_create(coi_event);
	struct event_passthrough *e;

	/* so that Dovecot's "duration" is the age of the push, and not that of the
	   process */
	timeval_sub_usecs(&push->tv_created, (long long)event->age_usecs);
	e = event_create_passthrough(push)
		    ->set_name("coi_push_finished")
		    ->add_str("outcome", coi_push_outcome_name(event->outcome))
		    ->add_str("user", event->user)
		    ->add_str("subscription", event->subscription)
		    ->add_str("origin", event->origin)
		    ->add_str("error", event->error)
		    ->add_int("status", event->status)
		    ->add_str("validation", event->validation ? "yes" : "no")
		    ->add_int("attempt", event->attempt)
		    ->add_int("age_usecs", (intmax_t)event->age_usecs);
	e_debug(e->event(),
		"Push of %s to %s: %s (status %u%s%s, attempt %u, %" PRIu64
		" ms after the delivery)",
		event->user, event->origin,
		coi_push_outcome_name(event->outcome), event->status,
		event->error[0] == '\0' ? "" : ", ", event->error,
		event->attempt, event->age_usecs / 1000);
	event_unref(&push);
}

static void coi_push_client_closed(void *context ATTR_UNUSED)
{
	master_service_client_connection_destroyed(master_service);
}

static const struct coi_relay_callbacks coi_push_callbacks = {
	.log = coi_push_log,
	.event = coi_push_sent,
	.client_closed = coi_push_client_closed,
};

static void coi_push_run(struct coi_relay *r)
{
	coi_relay_run(r);
}

static void client_connected(struct master_service_connection *conn)
{
	if (relay == NULL) {
		/* Push is off, or can't start. Not accepted, so it is closed,
		   and a delivery goes to the spool. */
		return;
	}
	master_service_client_connection_accept(conn);
	coi_relay_add_client(relay, conn->fd);
}

/* Root's own may be the folder of others, like /tmp. own is a pattern of names that are the
   service's, whoever has put the file there. */
static bool coi_push_dir_is_free(const char *path, const char *own, uid_t uid)
{
	DIR *dir = opendir(path);
	const struct dirent *d;
	struct stat st;
	bool is_free = TRUE;

	if (dir == NULL)
		i_fatal("opendir(%s) failed: %m", path);
	while (is_free && (d = readdir(dir)) != NULL) {
		/* that is in the root of a file system */
		if (strcmp(d->d_name, ".") == 0 ||
		    strcmp(d->d_name, "..") == 0 ||
		    strcmp(d->d_name, "lost+found") == 0 ||
		    fnmatch(own, d->d_name, 0) == 0)
			continue;
		is_free = fstatat(dirfd(dir), d->d_name, &st,
				  AT_SYMLINK_NOFOLLOW) == 0 &&
			st.st_uid == uid;
	}
	closedir(dir);
	return is_free;
}

static const char *coi_push_user_name(uid_t uid)
{
	const struct passwd *pw = getpwuid(uid);

	return pw == NULL ? dec2str(uid) : t_strdup(pw->pw_name);
}

/* Makes a directory that belongs to whom we are going to be. */
static void coi_push_mkdir(const char *path, mode_t mode, const char *own)
{
	struct restrict_access_settings access;
	struct stat st;
	bool made;

	restrict_access_get_env(&access);
	/* Everybody must get through to the spool. */
	made = mkdir_parents(path, 0755) == 0;
	if (!made && errno != EEXIST)
		i_fatal("Can't create %s: %m", path);
	if (geteuid() != 0 || access.uid == (uid_t)-1) {
		/* We are already. What was there is as somebody wants it. */
		if (made && chmod(path, mode) < 0)
			i_fatal("chmod(%s) failed: %m", path);
		return;
	}
	if (lstat(path, &st) < 0)
		i_fatal("lstat(%s) failed: %m", path);
	/* One that is somebody else's may be there on purpose. */
	if (!S_ISDIR(st.st_mode) || (st.st_uid != 0 && st.st_uid != access.uid))
		i_fatal("%s must be a directory of %s", path,
			coi_push_user_name(access.uid));
	if (st.st_uid == 0 && !coi_push_dir_is_free(path, own, access.uid))
		i_fatal("%s must be a directory of %s, but it is root's, "
			"and has files of others in it",
			path, coi_push_user_name(access.uid));
	/* Root may lack the capability for what isn't its own: where Dovecot is
	   confined, by NoNewPrivileges or otherwise. */
	if ((st.st_mode & ALLPERMS) != mode && chmod(path, mode) < 0)
		i_fatal("chmod(%s) failed: %m", path);
	if (st.st_uid != access.uid && chown(path, access.uid, (gid_t)-1) < 0)
		i_fatal("chown(%s) failed: %m", path);
}

/* A relative one would be another one for each process. */
static void coi_push_check_dir(const char *name, const char *path)
{
	if (*path != '/')
		i_fatal("%s isn't an absolute path: %s", name, path);
}

static void main_preinit(void)
{
	if (coi_set->coi_push) {
		coi_push_check_dir("coi_push_key_dir",
				   coi_set->coi_push_key_dir);
		coi_push_check_dir("coi_push_queue_dir",
				   coi_set->coi_push_queue_dir);
		coi_push_check_dir("coi_push_spool_dir",
				   coi_set->coi_push_spool_dir);
		/* Mail processes of any user may put files there, and see none
		   of the others. It comes first: should the keys be there, too,
		   that is refused later, but their folder's mode stays. */
		coi_push_mkdir(coi_set->coi_push_spool_dir, 01733,
			       "*.handoff*");
		/* which the admin brings from another node, maybe as root */
		coi_push_mkdir(coi_set->coi_push_key_dir, 0700, "vapid*.pem");
		coi_push_mkdir(coi_set->coi_push_queue_dir, 0700, "");
	}
	/* ends the process if it is still root then */
	restrict_access_by_env(0, NULL);
	restrict_access_allow_coredumps(TRUE);
}

static int coi_push_open(const char **error_r)
{
	struct coi_relay_settings set;
	char *error;

	/* The relay takes it for none, and would keep all tokens back. */
	if (coi_set->coi_push_deltachat &&
	    coi_set->coi_push_deltachat_gateway[0] == '\0') {
		*error_r = "coi_push_deltachat_gateway is empty";
		return -1;
	}
	coi_relay_settings_defaults(&set);
	set.key_dir = coi_set->coi_push_key_dir;
	set.queue_dir = coi_set->coi_push_queue_dir;
	set.spool_dir = coi_set->coi_push_spool_dir;
	set.vapid_subject = coi_set->coi_push_vapid_subject;
	/* RFC 8292 wants somebody to write to. The postmaster is there by
	   RFC 5321. */
	set.vapid_subject_default = t_strconcat("mailto:postmaster@",
						my_hostdomain(), NULL);
	set.hosts_allowed = coi_set->coi_push_hosts;
	set.hosts_denied = coi_set->coi_push_hosts_denied;
	set.hosts_http = coi_set->coi_push_hosts_http;
	set.networks_allowed = coi_set->coi_push_networks;
	set.ssl_ca_file = coi_set->coi_push_ssl_ca_file;
	if (coi_set->coi_push_deltachat)
		set.device_token_gateway = coi_set->coi_push_deltachat_gateway;
	set.ttl_chat_secs = coi_set->coi_push_ttl;
	set.ttl_mail_secs = coi_set->coi_push_ttl;
	set.queue_limit = coi_set->coi_push_queue_limit;
	set.queue_user_limit = coi_set->coi_push_queue_user_limit;
	set.register_limit = coi_set->coi_push_register_limit;
	set.register_timeout_msecs = coi_set->coi_push_register_timeout;

	relay = coi_relay_open(&set, &coi_push_callbacks, &error);
	if (relay == NULL) {
		*error_r = t_strdup(error);
		free(error);
		return -1;
	}
	relay_io = io_add(coi_relay_fd(relay), IO_READ, coi_push_run, relay);
	/* what it is to go on with */
	coi_relay_run(relay);
	return 0;
}

/* Dovecot doesn't start a service again that has ended, or was killed, while it
   was starting, until somebody connects to it; and one that ends right after it,
   again and again. So this is after that, and nothing of it ends the process. */
static void coi_push_start(void *context ATTR_UNUSED)
{
	const char *error;

	timeout_remove(&start_timeout);
	if (coi_push_open(&error) == 0)
		return;
	e_error(coi_event, "Can't start, and will try again in %u seconds: %s",
		start_secs, error);
	start_timeout = timeout_add(start_secs * 1000, coi_push_start, NULL);
	start_secs = I_MIN(start_secs * 2, COI_PUSH_START_MAX_SECS);
}

static void main_deinit(void)
{
	timeout_remove(&start_timeout);
	if (relay != NULL) {
		io_remove(&relay_io);
		coi_relay_close(&relay);
	}
	coi_service_settings_free(&coi_set);
	event_unref(&coi_event);
}

int main(int argc, char *argv[])
{
	const enum master_service_flags service_flags =
		MASTER_SERVICE_FLAG_NO_SSL_INIT |
		MASTER_SERVICE_FLAG_NO_IDLE_DIE;
	const char *error;

	master_service = master_service_init("coi-push", service_flags, &argc,
					     &argv, "");
	if (master_getopt(master_service) > 0)
		return FATAL_DEFAULT;
	coi_event = event_create(NULL);
	if (coi_service_settings_read(master_service, coi_event, &coi_set,
				      &error) < 0)
		i_fatal("Error reading configuration: %s", error);
	master_service_init_log(master_service);
	/* A queue that reaches the limit of a file's size is like a full disk. */
	lib_signals_ignore(SIGXFSZ, TRUE);

	main_preinit();
	master_service_init_finish(master_service);
	if (coi_set->coi_push)
		coi_push_start(NULL);
	master_service_run(master_service, client_connected);
	main_deinit();
	master_service_deinit(&master_service);
	return 0;
}
