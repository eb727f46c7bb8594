/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The client of docs/handoff.md: what it writes, what it makes of answers, and
   that neither a service that misbehaves nor a spool that somebody has meddled
   with does any harm. */

#include "glue-tests.h"

#include "lib.h"
#include "array.h"
#include "buffer.h"
#include "ioloop.h"
#include "net.h"
#include "str.h"
#include "unlink-directory.h"
#include "write-full.h"
#include "coi-admin.h"
#include "coi-core.h"
#include "coi-handoff.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Long enough that nothing that answers is ever late. */
#define PATIENT_MSECS (60 * 1000)
/* What is waited for in vain. */
#define SHORT_MSECS 50

#define ID "00112233445566778899aabbccddeeff"

static unsigned int log_count;
static struct event *event;
static struct ioloop *ioloop;
static char *dir;
static pid_t server_pid;

static void ATTR_FORMAT(2, 0) count_log(const struct failure_context *ctx,
					const char *format, va_list args)
{
	(void)format;
	(void)args;
	if (ctx->type == LOG_TYPE_ERROR || ctx->type == LOG_TYPE_WARNING)
		log_count++;
}

static const char *path_of(const char *name)
{
	return t_strconcat(dir, "/", name, NULL);
}

static void write_file(const char *name, const char *text, mode_t mode)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_EXCL, 0600);

	assert_int_not_equal(fd, -1);
	assert_int_equal(write_full(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(close(fd), 0);
}

static int setup(void **state)
{
	char template[] = "/tmp/coi-glue-XXXXXX";

	(void)state;
	/* can't be done twice in a process */
	if (!lib_is_initialized())
		lib_init();
	i_set_error_handler(count_log);
	i_set_info_handler(count_log);
	log_count = 0;
	ioloop = io_loop_create();
	event = event_create(NULL);
	dir = i_strdup(mkdtemp(template));
	coi_core_init(GLUE_CORES "/fake-seal/lib95_coi_plugin.so");
	return 0;
}

static int teardown(void **state)
{
	const char *error;

	(void)state;
	if (server_pid != 0) {
		(void)kill(server_pid, SIGKILL);
		(void)waitpid(server_pid, NULL, 0);
		server_pid = 0;
	}
	(void)unlink_directory(dir, UNLINK_DIRECTORY_FLAG_RMDIR, &error);
	i_free(dir);
	coi_handoff_deinit();
	coi_core_deinit();
	event_unref(&event);
	io_loop_destroy(&ioloop);
	return 0;
}

/*
 * Requests
 */

static void assert_line(const string_t *line, const char *expected)
{
	assert_string_equal(t_strndup(str_data(line), str_len(line)), expected);
}

static void test_deliver_line(void **state)
{
	static const char body[] = "Hi\001\tyou\n\000\r";
	const struct coi_subscription subs[] = {
		{ .id = "phone-12345", .json = "{\"a\":\"\t\"}" },
		{ .id = "tablet-1234", .json = "{}" },
	};
	buffer_t body_buf;
	const struct coi_handoff_mail mail = {
		.chat = TRUE,
		.uid = 4294967295U,
		.uidvalidity = 1,
		.folder = "COI/Chats",
		.from_email = "Jürgen@Example.org",
		.from_name = "Jürgen\t",
		.subject = "one\ntwo\r",
		.have_date = TRUE,
		.date = -86400,
		.date_offset = -90,
		.msg_id = "<chat$group.1234@example.org>",
		.group_id = "group",
		.content_type = "text/plain; charset=utf-8",
		.content_encoding = "8bit",
		.body = &body_buf,
	};
	string_t *line = t_str_new(16);

	(void)state;
	buffer_create_from_const_data(&body_buf, body, sizeof(body) - 1);
	str_append(line, "what was there");
	assert_int_equal(coi_handoff_write_deliver(line, ID, "us\ter", subs, 2,
						   &mail),
			 2);
	assert_line(line,
		    "1\tdeliver\tid=" ID "\tuser=us\001ter"
		    "\tsub.phone-12345={\"a\":\"\001t\"}\tsub.tablet-1234={}"
		    "\tchat=1\tuid=4294967295\tuidvalidity=1\tfolder=COI/Chats"
		    "\tfrom-email=Jürgen@Example.org\tfrom-name=Jürgen\001t"
		    "\tsubject=one\001ntwo\001r\tdate=-86400 -90"
		    "\tmsg-id=<chat$group.1234@example.org>\tgroup-id=group"
		    "\tcontent-type=text/plain; charset=utf-8"
		    "\tcontent-encoding=8bit"
		    "\tbody=Hi\0011\001tyou\001n\0010\001r\n");
}

static void test_deliver_line_of_a_mail_that_says_nothing(void **state)
{
	const struct coi_subscription sub = { .id = "phone-12345",
					      .json = "{}" };
	struct coi_handoff_mail mail = {
		.uid = 7, .uidvalidity = 8, .folder = "INBOX", .subject = ""
	};
	buffer_t body_buf;
	string_t *line = t_str_new(16);

	(void)state;
	assert_int_equal(
		coi_handoff_write_deliver(line, ID, "user", &sub, 1, &mail), 1);
	assert_line(line,
		    "1\tdeliver\tid=" ID "\tuser=user\tsub.phone-12345={}"
		    "\tuid=7\tuidvalidity=8\tfolder=INBOX\n");
	/* an empty body is told, a missing one isn't */
	buffer_create_from_const_data(&body_buf, "", 0);
	mail.body = &body_buf;
	(void)coi_handoff_write_deliver(line, ID, "user", &sub, 1, &mail);
	assert_line(line,
		    "1\tdeliver\tid=" ID "\tuser=user\tsub.phone-12345={}"
		    "\tuid=7\tuidvalidity=8\tfolder=INBOX\tbody=\n");
}

static void test_other_lines(void **state)
{
	const struct coi_subscription subs[] = {
		{ .id = "phone-12345", .json = "{}" },
		{ .id = "tablet-1234", .json = "[\n]" }
	};
	string_t *line = t_str_new(16);

	(void)state;
	coi_handoff_write_vapid(line);
	assert_line(line, "1\tvapid\n");
	coi_handoff_write_status(line);
	assert_line(line, "1\tstatus\n");
	coi_handoff_write_register(line, "user", &subs[1]);
	assert_line(line, "1\tregister\tuser=user\tsub.tablet-1234=[\001n]\n");
	assert_int_equal(coi_handoff_write_gone(line, "user", subs, 2), 2);
	assert_line(line,
		    "1\tgone\tuser=user\tsub.phone-12345={}"
		    "\tsub.tablet-1234=[\001n]\n");
	assert_int_equal(coi_handoff_write_forget(line, "user", subs, 1), 1);
	assert_line(line, "1\tforget\tuser=user\tsub.phone-12345={}\n");
}

static const char *repeat(const char *text, unsigned int count)
{
	string_t *str = t_str_new(count * strlen(text));

	while (count-- > 0)
		str_append(str, text);
	return str_c(str);
}

static void test_long_values_are_cut_between_characters(void **state)
{
	/* number of octets left of a text of that many, after one octet */
	static const struct {
		const char *character;
		unsigned int size;
	} tests[] = {
		{ "x", 4096 },
		{ "ü", 4095 },
		{ "€", 4096 },
		{ "\xf0\x9f\x98\x80", 4093 },
		/* not UTF-8: as much as there may be */
		{ "\x80", 4096 },
	};
	const struct coi_subscription sub = { .id = "phone-12345",
					      .json = "{}" };
	struct coi_handoff_mail mail;
	string_t *line = t_str_new(16);
	const char *subject, *cut;

	(void)state;
	for (unsigned int i = 0; i < N_ELEMENTS(tests); i++) {
		subject = t_strconcat("x", repeat(tests[i].character, 4096),
				      NULL);
		i_zero(&mail);
		mail.subject = subject;
		(void)coi_handoff_write_deliver(line, ID, "user", &sub, 1,
						&mail);
		cut = t_strndup(subject, tests[i].size);
		assert_non_null(
			strstr(str_c(line),
			       t_strconcat("\tsubject=", cut, "\n", NULL)));
	}
}

static void test_only_as_many_subscriptions_as_fit(void **state)
{
	struct coi_subscription subs[COI_HANDOFF_MAX_SUBSCRIPTIONS + 1];
	const struct coi_handoff_mail mail = {
		.subject = repeat("\t", COI_HANDOFF_MAX_VALUE),
	};
	string_t *line = t_str_new(16);
	unsigned int count;

	(void)state;
	for (unsigned int i = 0; i < N_ELEMENTS(subs); i++) {
		subs[i].id = t_strdup_printf("phone-%05u", i);
		subs[i].json = "{}";
	}
	assert_int_equal(coi_handoff_write_gone(line, "user", subs,
						N_ELEMENTS(subs)),
			 COI_HANDOFF_MAX_SUBSCRIPTIONS);
	for (unsigned int i = 0; i < N_ELEMENTS(subs); i++)
		subs[i].json = repeat("x", 16000);
	count = coi_handoff_write_deliver(line, ID, "user", subs,
					  N_ELEMENTS(subs), &mail);
	assert_int_equal(count, 15);
	assert_true(str_len(line) >= COI_HANDOFF_MAX_SIZE - 16100 &&
		    str_len(line) <= COI_HANDOFF_MAX_SIZE);
	assert_int_equal(str_c(line)[str_len(line) - 1], '\n');
}

static void test_ids_differ(void **state)
{
	const char *id = coi_handoff_new_id();

	(void)state;
	assert_int_equal(strlen(id), 32);
	assert_int_equal(strspn(id, "0123456789abcdef"), 32);
	assert_string_not_equal(id, coi_handoff_new_id());
}

/*
 * Answers
 */

typedef void serve_func_t(int fd);

/* Serves one connection after the other until it is killed. */
static void start_server(serve_func_t *serve)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int listen_fd, fd;

	assert_true(strlen(path_of("coi-push")) < sizeof(addr.sun_path));
	(void)i_strocpy(addr.sun_path, path_of("coi-push"),
			sizeof(addr.sun_path));

	listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(
		bind(listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(listen_fd, 8), 0);
	server_pid = fork();
	assert_int_not_equal(server_pid, -1);
	if (server_pid == 0) {
		(void)signal(SIGPIPE, SIG_IGN);
		for (;;) {
			fd = accept(listen_fd, NULL, NULL);
			serve(fd);
			(void)close(fd);
		}
	}
	(void)close(listen_fd);
}

static void read_request(int fd)
{
	char c = '\0';

	while (c != '\n' && read(fd, &c, 1) == 1)
		;
}

static void say(int fd, const char *text)
{
	(void)!write(fd, text, strlen(text));
}

static void serve_answer(int fd)
{
	read_request(fd);
	say(fd, "+\tqueued\tgone=phone-12345\tother=1\tgone=a\001tb\n");
}

static void serve_pieces(int fd)
{
	static const char answer[] = "-\tunavailable\n";

	read_request(fd);
	for (unsigned int i = 0; i < sizeof(answer) - 1; i++) {
		(void)!write(fd, answer + i, 1);
		(void)usleep(1000);
	}
}

static void serve_unasked(int fd)
{
	say(fd, "-\tfull\n");
}

static void serve_silence(int fd)
{
	char c;

	while (read(fd, &c, 1) == 1)
		;
}

/* Answers how much it has read. */
static void serve_size(int fd)
{
	char buf[4096], answer[32];
	size_t size = 0;
	ssize_t ret = 0;

	do {
		size += (size_t)ret;
		ret = read(fd, buf, sizeof(buf));
	} while (ret > 0 && buf[ret - 1] != '\n');
	(void)i_snprintf(answer, sizeof(answer), "+\t%zu\n",
			 size + (size_t)ret);
	say(fd, answer);
}

static void serve_deaf(int fd)
{
	(void)fd;
	(void)pause();
}

static void serve_early_end(int fd)
{
	read_request(fd);
	say(fd, "+\tqueued");
}

static void serve_garbage(int fd)
{
	read_request(fd);
	say(fd, "HTTP/1.1 200 OK\r\n\r\n");
}

static void serve_no_word(int fd)
{
	read_request(fd);
	say(fd, "+\n");
}

static void serve_nul(int fd)
{
	read_request(fd);
	(void)!write(fd, "+\0queued\n", 9);
}

static void serve_flood(int fd)
{
	char buf[4096];

	memset(buf, 'x', sizeof(buf));
	read_request(fd);
	while (write(fd, buf, sizeof(buf)) > 0)
		;
}

static void serve_full(int fd)
{
	read_request(fd);
	say(fd, "-\tfull\n");
}

#define STATUS_OF_ALL                                               \
	"+\tstatus\tqueued=1\tin-flight=2\tdelivered=3\tdeferred=4" \
	"\tdropped=5\tgone=6"

static void serve_status(int fd)
{
	read_request(fd);
	say(fd,
	    STATUS_OF_ALL "\tservice=https://a.test 1 2 3 4 5 6 7 8 9"
			  "\tmore=10 11\n");
}

static void serve_nameless_service(int fd)
{
	read_request(fd);
	say(fd, STATUS_OF_ALL "\tservice=\n");
}

static void serve_nothing_more(int fd)
{
	read_request(fd);
	say(fd, STATUS_OF_ALL "\tmore=\n");
}

static int ask_line(const string_t *line, unsigned int timeout_msecs,
		    struct coi_handoff_answer *answer_r, const char **error_r)
{
	*error_r = NULL;
	return coi_handoff_ask(path_of("coi-push"), line, timeout_msecs,
			       answer_r, error_r);
}

static int ask(unsigned int timeout_msecs, struct coi_handoff_answer *answer_r,
	       const char **error_r)
{
	string_t *line = t_str_new(16);

	coi_handoff_write_vapid(line);
	return ask_line(line, timeout_msecs, answer_r, error_r);
}

static void test_answer(void **state)
{
	struct coi_handoff_answer answer;
	const char *error;
	unsigned int pos = 0;

	(void)state;
	start_server(serve_answer);
	assert_int_equal(ask(PATIENT_MSECS, &answer, &error), 0);
	assert_true(answer.ok);
	assert_string_equal(answer.word, "queued");
	assert_string_equal(coi_handoff_answer_next(&answer, "gone", &pos),
			    "phone-12345");
	assert_string_equal(coi_handoff_answer_next(&answer, "gone", &pos),
			    "a\tb");
	assert_null(coi_handoff_answer_next(&answer, "gone", &pos));
	pos = 0;
	assert_null(coi_handoff_answer_next(&answer, "gon", &pos));
}

static void test_answer_in_pieces(void **state)
{
	struct coi_handoff_answer answer;
	const char *error;

	(void)state;
	start_server(serve_pieces);
	assert_int_equal(ask(PATIENT_MSECS, &answer, &error), 0);
	assert_false(answer.ok);
	assert_string_equal(answer.word, "unavailable");
}

/* The kernel's buffers don't take the whole request. */
static const string_t *large_request(void)
{
	const struct coi_subscription sub = {
		.id = "phone-12345",
		.json = repeat("x", COI_HANDOFF_MAX_SIZE - 100),
	};
	string_t *line = t_str_new(COI_HANDOFF_MAX_SIZE);
	int fd[2], size = 0;
	socklen_t len = sizeof(size);

	assert_int_equal(coi_handoff_write_gone(line, "user", &sub, 1), 1);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	assert_int_equal(getsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &size, &len),
			 0);
	(void)close(fd[0]);
	(void)close(fd[1]);
	if ((size_t)size >= str_len(line))
		skip();
	return line;
}

static void test_request_is_sent_in_pieces(void **state)
{
	const string_t *line = large_request();
	struct coi_handoff_answer answer;
	const char *error;

	(void)state;
	start_server(serve_size);
	assert_int_equal(ask_line(line, PATIENT_MSECS, &answer, &error), 0);
	assert_string_equal(answer.word, dec2str(str_len(line)));
}

static void test_answer_before_the_request_is_read(void **state)
{
	struct coi_handoff_answer answer;
	const char *error;

	(void)state;
	start_server(serve_unasked);
	assert_int_equal(
		ask_line(large_request(), PATIENT_MSECS, &answer, &error), 0);
	assert_string_equal(answer.word, "full");
}

static void test_status(void **state)
{
	const struct coi_admin_queue_row *row;
	ARRAY_TYPE(coi_admin_queue) queue;
	const char *error;

	(void)state;
	start_server(serve_status);
	t_array_init(&queue, 4);
	assert_int_equal(coi_admin_get_queue(dir, &queue, &error), 0);
	assert_int_equal(array_count(&queue), 3);
	row = array_idx(&queue, 0);
	assert_string_equal(row->service, "all");
	assert_int_equal(row->numbers[COI_QUEUE_WAITING], 1);
	assert_int_equal(row->numbers[COI_QUEUE_GONE], 6);
	assert_int_equal(row->numbers[COI_QUEUE_FAILURES], -1);
	row = array_idx(&queue, 1);
	assert_string_equal(row->service, "https://a.test");
	assert_int_equal(row->numbers[COI_QUEUE_WAITING], 1);
	assert_int_equal(row->numbers[COI_QUEUE_OLDEST], 9);
	row = array_idx(&queue, 2);
	assert_string_equal(row->service, "10 others");
	assert_int_equal(row->numbers[COI_QUEUE_WAITING], 11);
	assert_int_equal(row->numbers[COI_QUEUE_IN_FLIGHT], -1);
}

/* What is read beyond an array in the data stack isn't zeros by chance. */
static void soil_data_stack(void)
{
	T_BEGIN {
		for (unsigned int i = 0; i < 1000; i++)
			memset(t_malloc_no0(64), 0xff, 64);
	}
	T_END;
}

static void assert_no_status(serve_func_t *serve)
{
	ARRAY_TYPE(coi_admin_queue) queue;
	const char *error;

	start_server(serve);
	t_array_init(&queue, 4);
	soil_data_stack();
	assert_int_equal(coi_admin_get_queue(dir, &queue, &error), -1);
	assert_string_equal(error, "coi-push doesn't tell: status");
}

static void test_status_of_a_service_without_a_name(void **state)
{
	(void)state;
	assert_no_status(serve_nameless_service);
}

static void test_status_of_no_others(void **state)
{
	(void)state;
	assert_no_status(serve_nothing_more);
}

static void assert_no_answer(serve_func_t *serve, unsigned int timeout_msecs,
			     const char *expected)
{
	struct coi_handoff_answer answer;
	const char *error;

	start_server(serve);
	assert_int_equal(ask(timeout_msecs, &answer, &error), -1);
	assert_non_null(strstr(error, expected));
}

static void test_no_answer(void **state)
{
	(void)state;
	assert_no_answer(serve_silence, SHORT_MSECS, "timed out");
}

static void test_request_is_not_read(void **state)
{
	struct coi_handoff_answer answer;
	const char *error;

	(void)state;
	start_server(serve_deaf);
	assert_int_equal(
		ask_line(large_request(), SHORT_MSECS, &answer, &error), -1);
	assert_string_equal(error, "timed out");
}

static void ignore_signal(int sig)
{
	(void)sig;
}

static void test_signals_do_not_prolong_the_wait(void **state)
{
	struct sigaction act = { .sa_handler = ignore_signal }, old_act;
	struct itimerval timer = { { 0, 1000 }, { 0, 1000 } }, no_timer;
	struct coi_handoff_answer answer;
	const char *error;
	int ret;

	(void)state;
	start_server(serve_silence);
	i_zero(&no_timer);
	assert_int_equal(sigaction(SIGALRM, &act, &old_act), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
	ret = ask(SHORT_MSECS, &answer, &error);
	assert_int_equal(setitimer(ITIMER_REAL, &no_timer, NULL), 0);
	assert_int_equal(sigaction(SIGALRM, &old_act, NULL), 0);
	assert_int_equal(ret, -1);
	assert_string_equal(error, "timed out");
}

static void test_connection_is_closed_early(void **state)
{
	(void)state;
	assert_no_answer(serve_early_end, PATIENT_MSECS, "closed");
}

static void test_answer_is_garbage(void **state)
{
	(void)state;
	assert_no_answer(serve_garbage, PATIENT_MSECS, "it answered \"HTTP");
}

static void test_answer_has_no_word(void **state)
{
	(void)state;
	assert_no_answer(serve_no_word, PATIENT_MSECS, "it answered");
}

static void test_answer_has_a_nul(void **state)
{
	(void)state;
	assert_no_answer(serve_nul, PATIENT_MSECS, "it answered");
}

static void test_answer_is_endless(void **state)
{
	(void)state;
	assert_no_answer(serve_flood, PATIENT_MSECS, "too long");
}

static void test_nobody_listens(void **state)
{
	struct coi_handoff_answer answer;
	const char *error;

	(void)state;
	assert_int_equal(ask(PATIENT_MSECS, &answer, &error), -1);
	assert_non_null(strstr(error, "connect("));
}

/*
 * The spool
 */

static void make_spool(const char *key)
{
	assert_int_equal(mkdir(path_of("spool"), 0700), 0);
	assert_int_equal(chmod(path_of("spool"), 01733), 0);
	if (key != NULL)
		write_file("spool/seal.pub", key, 0644);
}

static unsigned int count_files(const char *name)
{
	unsigned int count = 0;
	struct dirent *entry;
	DIR *list = opendir(path_of(name));

	assert_non_null(list);
	while ((entry = readdir(list)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			count++;
	}
	closedir(list);
	return count;
}

static void assert_spooled(const char *expected)
{
	const char *path = path_of("spool/" ID ".handoff");
	struct stat st;
	char buf[1024];
	ssize_t size;
	int fd;

	fd = open(path, O_RDONLY);
	assert_int_not_equal(fd, -1);
	size = read(fd, buf, sizeof(buf));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(close(fd), 0);
	assert_string_equal(t_strndup(buf, (size_t)size), expected);
	assert_int_equal(st.st_mode & 07777, 0644);
	/* and the key */
	assert_int_equal(count_files("spool"), 2);
}

static int spool(const char **error_r)
{
	string_t *line = t_str_new(16);

	str_append(line, "line\n");
	*error_r = NULL;
	return coi_handoff_spool(event, path_of("spool"), ID, line, error_r);
}

static void test_spool(void **state)
{
	const char *error;
	mode_t old_umask = umask(077);

	(void)state;
	make_spool("key");
	assert_int_equal(spool(&error), 0);
	umask(old_umask);
	assert_spooled("k|line\n");
}

static void assert_not_spooled(unsigned int files, const char *expected)
{
	const char *error;

	assert_int_equal(spool(&error), -1);
	assert_non_null(error);
	if (strstr(error, expected) == NULL)
		fail_msg("%s", error);
	assert_int_equal(count_files("spool"), files);
}

static void test_spool_has_no_key(void **state)
{
	(void)state;
	make_spool(NULL);
	assert_not_spooled(0, "seal.pub) failed: No such file");
}

static void test_spool_key_is_a_link(void **state)
{
	(void)state;
	make_spool(NULL);
	write_file("key", "key", 0644);
	assert_int_equal(symlink(path_of("key"), path_of("spool/seal.pub")), 0);
	assert_not_spooled(1, "seal.pub) failed: Too many levels");
}

static void test_spool_key_is_no_file(void **state)
{
	(void)state;
	make_spool(NULL);
	assert_int_equal(mkfifo(path_of("spool/seal.pub"), 0644), 0);
	assert_not_spooled(1, "isn't a key");
}

static void test_spool_key_is_empty(void **state)
{
	(void)state;
	make_spool("");
	assert_not_spooled(1, "isn't a key");
}

static void test_spool_key_is_large(void **state)
{
	(void)state;
	make_spool(repeat("x", 4097));
	assert_not_spooled(1, "isn't a key");
}

static void test_spool_key_is_anybodys(void **state)
{
	(void)state;
	make_spool(NULL);
	write_file("spool/seal.pub", "key", 0666);
	assert_not_spooled(1, "isn't the service's");
}

static void test_spool_key_is_somebody_elses(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	make_spool("key");
	assert_int_equal(chown(path_of("spool/seal.pub"), 65534, 65534), 0);
	assert_not_spooled(1, "isn't the service's");
}

static void test_spool_key_is_bad(void **state)
{
	(void)state;
	make_spool("bad");
	assert_not_spooled(1, "can't be used");
}

static void test_spool_name_is_taken(void **state)
{
	(void)state;
	make_spool("key");
	write_file("target", "", 0600);
	assert_int_equal(symlink(path_of("target"),
				 path_of("spool/" ID ".handoff.tmp")),
			 0);
	assert_not_spooled(2, "File exists");
}

static void test_spool_without_the_library(void **state)
{
	(void)state;
	coi_core_deinit();
	coi_core_init(GLUE_CORES "/missing/lib95_coi_plugin.so");
	make_spool("key");
	assert_not_spooled(1, "isn't loaded");
	assert_int_equal(log_count, 1);
}

/*
 * Deliveries
 */

static enum coi_handoff_outcome
deliver(unsigned int timeout_msecs, struct coi_handoff_answer *answer_r)
{
	const struct coi_handoff_service service = {
		.event = event,
		.socket_path = path_of("coi-push"),
		.spool_dir = path_of("spool"),
		.timeout_msecs = timeout_msecs,
	};
	string_t *line = t_str_new(16);

	str_append(line, "line\n");
	return coi_handoff_deliver(&service, ID, line, answer_r);
}

static void test_deliver(void **state)
{
	struct coi_handoff_answer answer;
	unsigned int pos = 0;

	(void)state;
	make_spool("key");
	start_server(serve_answer);
	assert_int_equal(deliver(PATIENT_MSECS, &answer), COI_HANDOFF_QUEUED);
	assert_string_equal(coi_handoff_answer_next(&answer, "gone", &pos),
			    "phone-12345");
	assert_int_equal(count_files("spool"), 1);
	assert_false(coi_handoff_is_away());
	assert_int_equal(log_count, 0);
}

static void test_deliver_to_a_full_queue(void **state)
{
	struct coi_handoff_answer answer;

	(void)state;
	make_spool("key");
	start_server(serve_full);
	assert_int_equal(deliver(PATIENT_MSECS, &answer), COI_HANDOFF_FAILED);
	/* once a minute */
	assert_int_equal(deliver(PATIENT_MSECS, &answer), COI_HANDOFF_FAILED);
	assert_int_equal(log_count, 1);
	assert_int_equal(count_files("spool"), 1);
	assert_false(coi_handoff_is_away());
}

static void test_deliver_to_an_unavailable_service(void **state)
{
	struct coi_handoff_answer answer;

	(void)state;
	make_spool("key");
	start_server(serve_pieces);
	assert_int_equal(deliver(PATIENT_MSECS, &answer), COI_HANDOFF_SPOOLED);
	assert_spooled("k|line\n");
}

static void test_deliver_waits_in_vain_only_once(void **state)
{
	struct coi_handoff_answer answer;

	(void)state;
	make_spool("key");
	assert_int_equal(deliver(SHORT_MSECS, &answer), COI_HANDOFF_SPOOLED);
	assert_true(coi_handoff_is_away());
	assert_int_equal(log_count, 1);
	/* now there is one, and it isn't asked */
	start_server(serve_full);
	assert_int_equal(deliver(PATIENT_MSECS, &answer), COI_HANDOFF_SPOOLED);
	assert_int_equal(log_count, 1);
	assert_spooled("k|line\n");
}

static void test_deliver_to_nobody(void **state)
{
	struct coi_handoff_answer answer;

	(void)state;
	make_spool(NULL);
	start_server(serve_garbage);
	assert_int_equal(deliver(PATIENT_MSECS, &answer), COI_HANDOFF_FAILED);
	assert_int_equal(deliver(PATIENT_MSECS, &answer), COI_HANDOFF_FAILED);
	/* the service and the spool, each once */
	assert_int_equal(log_count, 2);
}

/* One that has failed is asked no more. Dovecot may be waiting for a connection
   before it starts another. */
static void test_deliver_knocks_before_the_process_ends(void **state)
{
	struct coi_handoff_answer answer;
	int listen_fd, fd;

	(void)state;
	make_spool("key");
	assert_int_equal(deliver(SHORT_MSECS, &answer), COI_HANDOFF_SPOOLED);
	listen_fd = net_listen_unix(path_of("coi-push"), 1);
	assert_int_not_equal(listen_fd, -1);
	net_set_nonblock(listen_fd, TRUE);
	coi_handoff_deinit();
	fd = net_accept(listen_fd, NULL, NULL);
	assert_true(fd >= 0);
	i_close_fd(&fd);
	/* not without a reason */
	coi_handoff_deinit();
	assert_int_equal(net_accept(listen_fd, NULL, NULL), -1);
	i_close_fd(&listen_fd);
}

#define HANDOFF_TEST(func) \
	cmocka_unit_test_setup_teardown(func, setup, teardown)

static const struct CMUnitTest tests[] = {
	HANDOFF_TEST(test_deliver_line),
	HANDOFF_TEST(test_deliver_line_of_a_mail_that_says_nothing),
	HANDOFF_TEST(test_other_lines),
	HANDOFF_TEST(test_long_values_are_cut_between_characters),
	HANDOFF_TEST(test_only_as_many_subscriptions_as_fit),
	HANDOFF_TEST(test_ids_differ),
	HANDOFF_TEST(test_answer),
	HANDOFF_TEST(test_answer_in_pieces),
	HANDOFF_TEST(test_request_is_sent_in_pieces),
	HANDOFF_TEST(test_answer_before_the_request_is_read),
	HANDOFF_TEST(test_status),
	HANDOFF_TEST(test_status_of_a_service_without_a_name),
	HANDOFF_TEST(test_status_of_no_others),
	HANDOFF_TEST(test_no_answer),
	HANDOFF_TEST(test_request_is_not_read),
	HANDOFF_TEST(test_signals_do_not_prolong_the_wait),
	HANDOFF_TEST(test_connection_is_closed_early),
	HANDOFF_TEST(test_answer_is_garbage),
	HANDOFF_TEST(test_answer_has_no_word),
	HANDOFF_TEST(test_answer_has_a_nul),
	HANDOFF_TEST(test_answer_is_endless),
	HANDOFF_TEST(test_nobody_listens),
	HANDOFF_TEST(test_spool),
	HANDOFF_TEST(test_spool_has_no_key),
	HANDOFF_TEST(test_spool_key_is_a_link),
	HANDOFF_TEST(test_spool_key_is_no_file),
	HANDOFF_TEST(test_spool_key_is_empty),
	HANDOFF_TEST(test_spool_key_is_large),
	HANDOFF_TEST(test_spool_key_is_anybodys),
	HANDOFF_TEST(test_spool_key_is_somebody_elses),
	HANDOFF_TEST(test_spool_key_is_bad),
	HANDOFF_TEST(test_spool_name_is_taken),
	HANDOFF_TEST(test_spool_without_the_library),
	HANDOFF_TEST(test_deliver),
	HANDOFF_TEST(test_deliver_to_a_full_queue),
	HANDOFF_TEST(test_deliver_to_an_unavailable_service),
	HANDOFF_TEST(test_deliver_waits_in_vain_only_once),
	HANDOFF_TEST(test_deliver_to_nobody),
	HANDOFF_TEST(test_deliver_knocks_before_the_process_ends),
};

GLUE_TESTS(CoiHandoff, tests)
