/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "array.h"
#include "istream.h"
#include "ostream.h"
#include "safe-mkstemp.h"
#include "str.h"
#include "write-full.h"
#include "mail-storage-private.h"
#include "coi-lock.h"
#include "coi-seen-journal.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOURNAL_VERSION "2"
/* of what couldn't wait */
#define JOURNAL_LATE_MAX_SIZE 262144

static const char *
coi_seen_journal_path(struct mailbox *inbox, const char *name)
{
	const char *dir = coi_lock_get_dir(inbox);

	return dir == NULL ? NULL : t_strconcat(dir, "/", name, NULL);
}

/* By which an INBOX is known to be the one that the UIDs are of. */
static uint32_t coi_seen_journal_uidvalidity(struct mailbox *inbox)
{
	struct mailbox_status status;

	mailbox_get_open_status(inbox, STATUS_UIDVALIDITY, &status);
	return status.uidvalidity;
}

int coi_seen_journal_write(struct mailbox *inbox,
			   const ARRAY_TYPE(seq_range) *uids,
			   const char **error_r)
{
	const struct mailbox_permissions *perm = mailbox_get_permissions(inbox);
	const struct seq_range *range;
	const char *tmp_path;
	const char *path = coi_seen_journal_path(inbox, COI_SEEN_JOURNAL_NAME);
	struct ostream *output;
	string_t *str;
	int fd, ret;

	if (path == NULL)
		return 0;
	str = t_str_new(256);
	str_printfa(str, "%s.", path);
	fd = safe_mkstemp_hostpid_group(str, perm->file_create_mode,
					perm->file_create_gid,
					perm->file_create_gid_origin);
	tmp_path = str_c(str);
	if (fd == -1) {
		*error_r = t_strdup_printf("safe_mkstemp(%s) failed: %m",
					   tmp_path);
		return -1;
	}
	output = o_stream_create_fd_file_autoclose(&fd, 0);
	o_stream_cork(output);
	o_stream_nsend_str(
		output,
		t_strdup_printf(JOURNAL_VERSION "\t%u\n",
				coi_seen_journal_uidvalidity(inbox)));
	array_foreach(uids, range) {
		T_BEGIN {
			const char *line = t_strdup_printf(
				"%u\t%u\n", range->seq1, range->seq2);
			o_stream_nsend_str(output, line);
		}
		T_END;
	}
	ret = o_stream_finish(output);
	if (ret < 0) {
		*error_r = t_strdup_printf("write(%s) failed: %s", tmp_path,
					   o_stream_get_error(output));
	}
	o_stream_destroy(&output);
	if (ret >= 0 && rename(tmp_path, path) < 0) {
		*error_r = t_strdup_printf("rename(%s, %s) failed: %m",
					   tmp_path, path);
		ret = -1;
	}
	if (ret < 0)
		i_unlink_if_exists(tmp_path);
	return ret < 0 ? -1 : 0;
}

static int coi_seen_journal_open_late(struct mailbox *inbox, const char *path)
{
	const int flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW |
		O_NONBLOCK;
	int fd = open(path, flags);

	/* Who makes it gives it the folder's mode and group. */
	if (fd == -1 && errno == ENOENT &&
	    mailbox_create_fd(inbox, path, flags | O_CREAT | O_EXCL, &fd) == 0)
		fd = open(path, flags);
	return fd;
}

int coi_seen_journal_add_late(struct mailbox *inbox,
			      const ARRAY_TYPE(seq_range) *uids,
			      const char **error_r)
{
	const char *path = coi_seen_journal_path(inbox,
						 COI_SEEN_JOURNAL_LATE_NAME);
	uint32_t uidvalidity = coi_seen_journal_uidvalidity(inbox);
	const struct seq_range *range;
	string_t *str = t_str_new(256);
	struct stat st;
	int fd, ret = 0;

	if (path == NULL)
		return 0;
	/* The last one may have been cut short. */
	str_append_c(str, '\n');
	array_foreach(uids, range) {
		str_printfa(str, "%u\t%u\t%u\n", uidvalidity, range->seq1,
			    range->seq2);
	}
	fd = coi_seen_journal_open_late(inbox, path);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	/* For some users nothing is ever moved. */
	if (fstat(fd, &st) == 0 && st.st_size < JOURNAL_LATE_MAX_SIZE) {
		ret = 1;
		if (write_full(fd, str_data(str), str_len(str)) < 0) {
			*error_r = t_strdup_printf("write(%s) failed: %m",
						   path);
			ret = -1;
		}
	}
	i_close_fd(&fd);
	return ret;
}

static bool
coi_seen_journal_is_for(struct mailbox *inbox, struct istream *input)
{
	const char *line = i_stream_read_next_line(input);

	return line != NULL &&
		strcmp(line,
		       t_strdup_printf(JOURNAL_VERSION "\t%u",
				       coi_seen_journal_uidvalidity(inbox))) ==
		0;
}

static bool coi_seen_journal_parse_range(const char *line, uint32_t *first_r,
					 uint32_t *last_r)
{
	return str_parse_uint32(line, first_r, &line) == 0 && line[0] == '\t' &&
		str_to_uint32(line + 1, last_r) == 0 && *first_r > 0 &&
		*first_r <= *last_r;
}

static void coi_seen_journal_parse(struct mailbox *inbox, struct istream *input,
				   ARRAY_TYPE(seq_range) *uids)
{
	const char *line;
	uint32_t first, last;

	if (!coi_seen_journal_is_for(inbox, input))
		return;
	while ((line = i_stream_read_next_line(input)) != NULL &&
	       coi_seen_journal_parse_range(line, &first, &last))
		seq_range_array_add_range(uids, first, last);
}

static void
coi_seen_journal_parse_late(struct mailbox *inbox, struct istream *input,
			    ARRAY_TYPE(seq_range) *uids)
{
	uint32_t uidvalidity = coi_seen_journal_uidvalidity(inbox);
	const char *line;
	uint32_t for_uidvalidity, first, last;

	while ((line = i_stream_read_next_line(input)) != NULL) {
		if (str_parse_uint32(line, &for_uidvalidity, &line) == 0 &&
		    for_uidvalidity == uidvalidity && line[0] == '\t' &&
		    coi_seen_journal_parse_range(line + 1, &first, &last))
			seq_range_array_add_range(uids, first, last);
	}
}

static int
coi_seen_journal_read_file(struct mailbox *inbox, const char *path,
			   void (*parse)(struct mailbox *inbox,
					 struct istream *input,
					 ARRAY_TYPE(seq_range) *uids),
			   ARRAY_TYPE(seq_range) *uids, const char **error_r)
{
	struct istream *input;
	int fd, ret = 1;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd == -1) {
		if (errno == ENOENT)
			return 0;
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	input = i_stream_create_fd_autoclose(&fd, IO_BLOCK_SIZE);
	parse(inbox, input, uids);
	if (input->stream_errno != 0) {
		*error_r = t_strdup_printf("read(%s) failed: %s", path,
					   i_stream_get_error(input));
		ret = -1;
	}
	i_stream_destroy(&input);
	return ret;
}

/* What has been taken by a move that was killed, which may have begun it. */
static int
coi_seen_journal_add_taken(struct mailbox *inbox, const char *taken,
			   ARRAY_TYPE(seq_range) *uids, const char **error_r)
{
	struct stat st;

	if (lstat(taken, &st) < 0 && errno == ENOENT)
		return 0;
	if (coi_seen_journal_read_file(inbox, taken,
				       coi_seen_journal_parse_late, uids,
				       error_r) < 0 ||
	    coi_seen_journal_write(inbox, uids, error_r) < 0)
		return -1;
	i_unlink_if_exists(taken);
	return 1;
}

int coi_seen_journal_read(struct mailbox *inbox, ARRAY_TYPE(seq_range) *uids,
			  ARRAY_TYPE(seq_range) *late, const char **error_r)
{
	const char *late_path, *taken;
	const char *path = coi_seen_journal_path(inbox, COI_SEEN_JOURNAL_NAME);
	int ret, taken_ret, late_ret;

	if (path == NULL)
		return 0;
	late_path = coi_seen_journal_path(inbox, COI_SEEN_JOURNAL_LATE_NAME);
	taken = coi_seen_journal_path(inbox, COI_SEEN_JOURNAL_TAKEN_NAME);
	ret = coi_seen_journal_read_file(inbox, path, coi_seen_journal_parse,
					 uids, error_r);
	if (ret < 0)
		return -1;
	taken_ret = coi_seen_journal_add_taken(inbox, taken, uids, error_r);
	if (taken_ret < 0)
		return -1;
	if (rename(late_path, taken) < 0 && errno != ENOENT) {
		*error_r = t_strdup_printf("rename(%s, %s) failed: %m",
					   late_path, taken);
		return -1;
	}
	late_ret = coi_seen_journal_read_file(
		inbox, taken, coi_seen_journal_parse_late, late, error_r);
	if (late_ret < 0)
		return -1;
	(void)seq_range_array_remove_seq_range(late, uids);
	return ret > 0 || taken_ret > 0 || late_ret > 0 ? 1 : 0;
}

void coi_seen_journal_remove(struct mailbox *inbox)
{
	const char *path = coi_seen_journal_path(inbox, COI_SEEN_JOURNAL_NAME);

	if (path == NULL)
		return;
	i_unlink_if_exists(path);
	i_unlink_if_exists(
		coi_seen_journal_path(inbox, COI_SEEN_JOURNAL_TAKEN_NAME));
}
