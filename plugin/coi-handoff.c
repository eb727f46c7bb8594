/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/*
 * A delivery may wait for the service, but not for long, and a dead or hanging
 * service must not be felt twice: so all I/O has one deadline, and after a
 * failure the spool is used right away for some seconds. The socket is closed
 * before the spool is used, because that is how the service knows that it has
 * been given up (docs/handoff.md): nobody is pushed twice.
 *
 * The spool's folder belongs to the service, and everybody may put files there
 * (like /tmp). So nothing in it is trusted but what the service has made:
 * the key must have the same owner as the folder.
 */

#include "lib.h"
#include "array.h"
#include "buffer.h"
#include "hex-binary.h"
#include "ioloop.h"
#include "net.h"
#include "randgen.h"
#include "str.h"
#include "str-sanitize.h"
#include "strescape.h"
#include "write-full.h"
#include "coi-core.h"
#include "coi-handoff.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* as many fields gone=<id> as a request can have subscriptions, a key, or what is
   told of 100 push services */
#define HANDOFF_ANSWER_MAX_SIZE 65536
#define HANDOFF_AWAY_MSECS 5000
/* Longer than Dovecot throttles a service that has failed for the first time,
   and for a minute, which is the longest that it does. */
#define HANDOFF_KNOCK_MSECS 5000
#define HANDOFF_KNOCKS_MAX 12
#define HANDOFF_LOG_MSECS 60000

#define SPOOL_KEY_MAX_SIZE 4096
#define SPOOL_TEMP_SUFFIX ".tmp"

static uint64_t away_until;
static struct timeout *knock_timeout;
static char *knock_path;
static unsigned int knocks_left;
static uint64_t service_logged_until, spool_logged_until;

/* Not ioloop_time, which stands still while we wait, and not the time of day,
   which may jump. */
uint64_t coi_handoff_clock(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts) < 0)
		i_fatal("clock_gettime() failed: %m");
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

const char *coi_handoff_new_id(void)
{
	unsigned char id[16];

	random_fill(id, sizeof(id));
	return binary_to_hex(id, sizeof(id));
}

/* Returns the size of the text cut off to fit, not inside of a character. */
static size_t handoff_value_size(const char *value)
{
	size_t size = strlen(value), start;

	if (size <= COI_HANDOFF_MAX_VALUE)
		return size;
	/* What isn't UTF-8 may look like one endless character. */
	start = COI_HANDOFF_MAX_VALUE;
	while (start > COI_HANDOFF_MAX_VALUE - 4 &&
	       ((unsigned char)value[start] & 0xc0) == 0x80)
		start--;
	return ((unsigned char)value[start] & 0xc0) == 0x80 ?
		COI_HANDOFF_MAX_VALUE :
		start;
}

static void handoff_add_data(string_t *line, const char *name, const void *data,
			     size_t size)
{
	str_append_c(line, '\t');
	str_append(line, name);
	str_append_c(line, '=');
	str_append_tabescaped_n(line, data, size);
}

static void
handoff_add_text(string_t *line, const char *name, const char *value)
{
	if (value != NULL && value[0] != '\0')
		handoff_add_data(line, name, value, handoff_value_size(value));
}

static void
handoff_add_number(string_t *line, const char *name, uint32_t number)
{
	str_printfa(line, "\t%s=%u", name, number);
}

static void handoff_begin(string_t *line, const char *kind)
{
	str_truncate(line, 0);
	str_append(line, COI_HANDOFF_VERSION "\t");
	str_append(line, kind);
}

static void
handoff_add_subscription(string_t *line, const struct coi_subscription *sub)
{
	str_append(line, "\tsub.");
	str_append(line, sub->id);
	str_append_c(line, '=');
	str_append_tabescaped(line, sub->json);
}

/* Adds as many as fit, with what comes behind them. */
static unsigned int
handoff_add_subscriptions(string_t *line, const struct coi_subscription *subs,
			  unsigned int count, size_t rest_size)
{
	unsigned int i;
	size_t size;

	for (i = 0; i < count && i < COI_HANDOFF_MAX_SUBSCRIPTIONS; i++) {
		size = str_len(line);
		handoff_add_subscription(line, &subs[i]);
		if (str_len(line) + rest_size > COI_HANDOFF_MAX_SIZE) {
			str_truncate(line, size);
			break;
		}
	}
	return i;
}

static void
handoff_add_mail(string_t *line, const struct coi_handoff_mail *mail)
{
	if (mail->chat)
		str_append(line, "\tchat=1");
	handoff_add_number(line, "uid", mail->uid);
	handoff_add_number(line, "uidvalidity", mail->uidvalidity);
	handoff_add_text(line, "folder", mail->folder);
	handoff_add_text(line, "from-email", mail->from_email);
	handoff_add_text(line, "from-name", mail->from_name);
	handoff_add_text(line, "subject", mail->subject);
	if (mail->have_date) {
		str_printfa(line, "\tdate=%lld %d", (long long)mail->date,
			    mail->date_offset);
	}
	handoff_add_text(line, "msg-id", mail->msg_id);
	handoff_add_text(line, "group-id", mail->group_id);
	handoff_add_text(line, "content-type", mail->content_type);
	handoff_add_text(line, "content-encoding", mail->content_encoding);
	if (mail->body != NULL) {
		handoff_add_data(line, "body", mail->body->data,
				 mail->body->used);
	}
}

unsigned int
coi_handoff_write_deliver(string_t *line, const char *id, const char *username,
			  const struct coi_subscription *subs,
			  unsigned int count,
			  const struct coi_handoff_mail *mail)
{
	string_t *rest = t_str_new(1024);
	unsigned int added;

	handoff_add_mail(rest, mail);
	str_append_c(rest, '\n');

	handoff_begin(line, "deliver");
	handoff_add_text(line, "id", id);
	handoff_add_text(line, "user", username);
	added = handoff_add_subscriptions(line, subs, count, str_len(rest));
	str_append_str(line, rest);
	return added;
}

static unsigned int
handoff_write_about(string_t *line, const char *kind, const char *username,
		    const struct coi_subscription *subs, unsigned int count)
{
	unsigned int added;

	handoff_begin(line, kind);
	handoff_add_text(line, "user", username);
	added = handoff_add_subscriptions(line, subs, count, 1);
	str_append_c(line, '\n');
	return added;
}

unsigned int
coi_handoff_write_gone(string_t *line, const char *username,
		       const struct coi_subscription *subs, unsigned int count)
{
	return handoff_write_about(line, "gone", username, subs, count);
}

unsigned int coi_handoff_write_forget(string_t *line, const char *username,
				      const struct coi_subscription *subs,
				      unsigned int count)
{
	return handoff_write_about(line, "forget", username, subs, count);
}

void coi_handoff_write_register(string_t *line, const char *username,
				const struct coi_subscription *sub)
{
	handoff_begin(line, "register");
	handoff_add_text(line, "user", username);
	handoff_add_subscription(line, sub);
	str_append_c(line, '\n');
}

void coi_handoff_write_vapid(string_t *line)
{
	handoff_begin(line, "vapid");
	str_append_c(line, '\n');
}

void coi_handoff_write_status(string_t *line)
{
	handoff_begin(line, "status");
	str_append_c(line, '\n');
}

const char *coi_handoff_answer_next(const struct coi_handoff_answer *answer,
				    const char *name, unsigned int *pos)
{
	size_t len = strlen(name);
	const char *field;

	while (answer->fields[*pos] != NULL) {
		field = answer->fields[(*pos)++];
		if (strncmp(field, name, len) == 0 && field[len] == '=')
			return field + len + 1;
	}
	return NULL;
}

/* Returns 0 if the socket is ready for it, or is broken: the next call will
   tell. */
static int
handoff_wait(int fd, short events, uint64_t deadline, const char **error_r)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	uint64_t now;
	int ret;

	for (;;) {
		now = coi_handoff_clock();
		if (now >= deadline) {
			*error_r = "timed out";
			return -1;
		}
		ret = poll(&pfd, 1, (int)I_MIN(deadline - now, INT_MAX));
		if (ret > 0)
			return 0;
		if (ret < 0 && errno != EINTR) {
			*error_r = t_strdup_printf("poll() failed: %m");
			return -1;
		}
	}
}

static int handoff_send(int fd, const string_t *line, uint64_t deadline,
			const char **error_r)
{
	const unsigned char *data = str_data(line);
	size_t left = str_len(line);
	ssize_t ret;

	while (left > 0) {
		ret = send(fd, data, left, MSG_NOSIGNAL);
		if (ret > 0) {
			data += ret;
			left -= (size_t)ret;
		} else if (errno == EAGAIN) {
			if (handoff_wait(fd, POLLOUT, deadline, error_r) < 0)
				return -1;
		} else if (errno == EPIPE || errno == ECONNRESET) {
			/* It may have had enough, and said why. */
			return 0;
		} else if (errno != EINTR) {
			*error_r = t_strdup_printf("send() failed: %m");
			return -1;
		}
	}
	return 0;
}

static int handoff_receive(int fd, buffer_t *input, uint64_t deadline,
			   const char **error_r)
{
	char buf[1024];
	ssize_t ret;

	while (input->used == 0 ||
	       memchr(input->data, '\n', input->used) == NULL) {
		if (input->used > HANDOFF_ANSWER_MAX_SIZE) {
			*error_r = "its answer is too long";
			return -1;
		}
		ret = recv(fd, buf, sizeof(buf), 0);
		if (ret > 0) {
			buffer_append(input, buf, (size_t)ret);
		} else if (ret == 0) {
			*error_r = "it closed the connection";
			return -1;
		} else if (errno == EAGAIN) {
			if (handoff_wait(fd, POLLIN, deadline, error_r) < 0)
				return -1;
		} else if (errno != EINTR) {
			*error_r = t_strdup_printf("recv() failed: %m");
			return -1;
		}
	}
	return 0;
}

static int
handoff_answer_parse(const buffer_t *input, struct coi_handoff_answer *answer_r,
		     const char **error_r)
{
	const char *const *fields;
	const char *line;

	line = t_strdup_until(input->data,
			      memchr(input->data, '\n', input->used));
	fields = t_strsplit_tabescaped(line);
	if (str_array_length(fields) < 2 ||
	    (strcmp(fields[0], "+") != 0 && strcmp(fields[0], "-") != 0)) {
		*error_r = t_strdup_printf("it answered \"%s\"",
					   str_sanitize(line, 80));
		return -1;
	}
	answer_r->ok = fields[0][0] == '+';
	answer_r->word = fields[1];
	answer_r->fields = fields + 2;
	return 0;
}

const char *coi_handoff_socket_path(const char *base_dir)
{
	return t_strconcat(base_dir, "/coi-push", NULL);
}

int coi_handoff_ask(const char *socket_path, const string_t *line,
		    unsigned int timeout_msecs,
		    struct coi_handoff_answer *answer_r, const char **error_r)
{
	uint64_t deadline = coi_handoff_clock() + timeout_msecs;
	buffer_t *input;
	int fd, ret;

	fd = net_connect_unix(socket_path);
	if (fd == -1) {
		*error_r = t_strdup_printf("connect(%s) failed: %m",
					   socket_path);
		return -1;
	}
	/* nothing is executed while it is open */
	input = t_buffer_create(1024);
	ret = handoff_send(fd, line, deadline, error_r);
	if (ret == 0)
		ret = handoff_receive(fd, input, deadline, error_r);
	i_close_fd(&fd);
	return ret < 0 ? -1 : handoff_answer_parse(input, answer_r, error_r);
}

static int spool_check_key(int fd, const char *spool_dir, const char **error_r)
{
	struct stat st, dir_st;

	if (fstat(fd, &st) < 0 || stat(spool_dir, &dir_st) < 0) {
		*error_r = t_strdup_printf("stat(%s) failed: %m", spool_dir);
		return -1;
	}
	if (!S_ISREG(st.st_mode) || st.st_size == 0 ||
	    st.st_size > SPOOL_KEY_MAX_SIZE) {
		*error_r = COI_SPOOL_KEY_NAME " isn't a key";
		return -1;
	}
	/* Anybody may put a file there while there is none. */
	if (st.st_uid != dir_st.st_uid ||
	    (st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
		*error_r = COI_SPOOL_KEY_NAME " isn't the service's";
		return -1;
	}
	return 0;
}

static int spool_read_key(const char *spool_dir, struct coi_bytes *key_r,
			  const char **error_r)
{
	const char *path = t_strconcat(spool_dir, "/" COI_SPOOL_KEY_NAME, NULL);
	char *buf = t_malloc_no0(SPOOL_KEY_MAX_SIZE);
	ssize_t size = 0;
	int fd, ret;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	ret = spool_check_key(fd, spool_dir, error_r);
	if (ret == 0) {
		size = read(fd, buf, SPOOL_KEY_MAX_SIZE);
		if (size < 0) {
			*error_r = t_strdup_printf("read(%s) failed: %m", path);
			ret = -1;
		}
	}
	i_close_fd(&fd);
	key_r->data = buf;
	key_r->size = (size_t)size;
	return ret;
}

static int spool_write(const char *path, const void *data, size_t size,
		       const char **error_r)
{
	const char *temp_path = t_strconcat(path, SPOOL_TEMP_SUFFIX, NULL);
	int fd, ret = 0;

	fd = open(temp_path,
		  O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", temp_path);
		return -1;
	}
	/* The service is another user; umask mustn't keep it out. */
	if (fchmod(fd, 0644) < 0 || write_full(fd, data, size) < 0) {
		*error_r = t_strdup_printf("write(%s) failed: %m", temp_path);
		ret = -1;
	}
	if (close(fd) < 0 && ret == 0) {
		*error_r = t_strdup_printf("close(%s) failed: %m", temp_path);
		ret = -1;
	}
	if (ret == 0 && rename(temp_path, path) < 0) {
		*error_r = t_strdup_printf("rename(%s, %s) failed: %m",
					   temp_path, path);
		ret = -1;
	}
	if (ret < 0)
		(void)unlink(temp_path);
	return ret;
}

int coi_handoff_spool(struct event *event, const char *spool_dir,
		      const char *id, const string_t *line,
		      const char **error_r)
{
	const struct coi_seal *seal = coi_seal_get(event);
	struct coi_bytes key,
		text = { (const char *)str_data(line), str_len(line) };
	const char *path;
	size_t size;
	char *buf;
	int ret;

	if (seal == NULL) {
		*error_r = "The sealing library isn't loaded";
		return -1;
	}
	if (spool_read_key(spool_dir, &key, error_r) < 0)
		return -1;
	buf = i_malloc(text.size + COI_SEAL_OVERHEAD);
	size = seal->seal(key, text, buf);
	if (size == 0) {
		*error_r = COI_SPOOL_KEY_NAME " can't be used";
		ret = -1;
	} else {
		path = t_strconcat(spool_dir, "/", id, COI_SPOOL_SUFFIX, NULL);
		ret = spool_write(path, buf, size, error_r);
	}
	i_free(buf);
	return ret;
}

bool coi_handoff_is_away(void)
{
	return coi_handoff_clock() < away_until;
}

void coi_handoff_set_away(void)
{
	away_until = coi_handoff_clock() + HANDOFF_AWAY_MSECS;
}

/* Dovecot doesn't start a service again that has died while it was starting,
   until somebody connects to it, and ends the connections that waited for it.
   Without this, what is in the spool might wait for the next mail. */
static void handoff_knock(void)
{
	int fd = net_connect_unix(knock_path);

	i_close_fd(&fd);
}

static void handoff_knock_stop(void)
{
	timeout_remove(&knock_timeout);
	i_free(knock_path);
}

static void handoff_knock_again(void *context ATTR_UNUSED)
{
	handoff_knock();
	if (--knocks_left == 0)
		handoff_knock_stop();
}

static void handoff_knock_later(const char *socket_path)
{
	knocks_left = HANDOFF_KNOCKS_MAX;
	if (knock_timeout != NULL)
		return;
	knock_path = i_strdup(socket_path);
	knock_timeout = timeout_add_to(io_loop_get_root(), HANDOFF_KNOCK_MSECS,
				       handoff_knock_again, NULL);
}

void coi_handoff_deinit(void)
{
	if (knock_timeout != NULL) {
		handoff_knock();
		handoff_knock_stop();
	}
	away_until = 0;
	service_logged_until = spool_logged_until = 0;
}

static bool handoff_may_log(uint64_t *logged_until)
{
	uint64_t now = coi_handoff_clock();

	if (now < *logged_until)
		return FALSE;
	*logged_until = now + HANDOFF_LOG_MSECS;
	return TRUE;
}

static enum coi_handoff_outcome
handoff_deliver_spool(const struct coi_handoff_service *service, const char *id,
		      const string_t *line)
{
	const char *error;

	if (coi_handoff_spool(service->event, service->spool_dir, id, line,
			      &error) == 0) {
		handoff_knock_later(service->socket_path);
		return COI_HANDOFF_SPOOLED;
	}
	if (handoff_may_log(&spool_logged_until)) {
		e_error(service->event,
			"coi: Can't hand a mail to coi-push or its spool, "
			"so it isn't pushed: %s",
			error);
	}
	return COI_HANDOFF_FAILED;
}

enum coi_handoff_outcome
coi_handoff_deliver(const struct coi_handoff_service *service, const char *id,
		    const string_t *line, struct coi_handoff_answer *answer_r)
{
	const char *error;

	if (coi_handoff_is_away())
		return handoff_deliver_spool(service, id, line);
	if (coi_handoff_ask(service->socket_path, line, service->timeout_msecs,
			    answer_r, &error) < 0) {
		coi_handoff_set_away();
		if (handoff_may_log(&service_logged_until)) {
			e_warning(service->event,
				  "coi: coi-push doesn't answer, "
				  "so its spool is used: %s",
				  error);
		}
		return handoff_deliver_spool(service, id, line);
	}
	handoff_knock_stop();
	if (answer_r->ok)
		return COI_HANDOFF_QUEUED;
	if (strcmp(answer_r->word, "unavailable") == 0)
		return handoff_deliver_spool(service, id, line);
	if (handoff_may_log(&service_logged_until)) {
		e_error(service->event,
			"coi: coi-push refused a mail, so it isn't pushed: %s",
			str_sanitize(answer_r->word, 40));
	}
	return COI_HANDOFF_FAILED;
}
