/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "array.h"
#include "istream.h"
#include "ostream.h"
#include "safe-mkstemp.h"
#include "str.h"
#include "mail-storage-private.h"
#include "coi-seen-journal.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define JOURNAL_VERSION "2"

const char *coi_seen_journal_dir(struct mailbox *inbox)
{
	const char *dir;

	if (!mail_index_is_in_memory(inbox->index))
		return inbox->index->dir;
	return mailbox_get_path_to(inbox, MAILBOX_LIST_PATH_TYPE_CONTROL,
				   &dir) > 0 ?
		dir :
		NULL;
}

static const char *coi_seen_journal_path(struct mailbox *inbox)
{
	const char *dir = coi_seen_journal_dir(inbox);

	return dir == NULL ? NULL :
			     t_strconcat(dir, "/" COI_SEEN_JOURNAL_NAME, NULL);
}

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
	const char *tmp_path, *path = coi_seen_journal_path(inbox);
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

int coi_seen_journal_read(struct mailbox *inbox, ARRAY_TYPE(seq_range) *uids,
			  const char **error_r)
{
	const char *line, *path = coi_seen_journal_path(inbox);
	uint32_t first, last;
	struct istream *input;
	int fd, ret = 1;

	if (path == NULL)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd == -1) {
		if (errno == ENOENT)
			return 0;
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	input = i_stream_create_fd_autoclose(&fd, IO_BLOCK_SIZE);
	if (coi_seen_journal_is_for(inbox, input)) {
		while ((line = i_stream_read_next_line(input)) != NULL &&
		       coi_seen_journal_parse_range(line, &first, &last))
			seq_range_array_add_range(uids, first, last);
	}
	if (input->stream_errno != 0) {
		*error_r = t_strdup_printf("read(%s) failed: %s", path,
					   i_stream_get_error(input));
		ret = -1;
	}
	i_stream_destroy(&input);
	return ret;
}

void coi_seen_journal_remove(struct mailbox *inbox)
{
	const char *path = coi_seen_journal_path(inbox);

	if (path != NULL)
		i_unlink_if_exists(path);
}
