// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// A queue that is locked by somebody else, full or unreadable in part.

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "relay_util.h"

namespace coi::test {
namespace {

using std::string;

class RelayQueueFile : public OpenRelayTest {};

TEST_F(RelayQueueFile, MSG_10_a_start_that_could_not_write_left_pushes_for_ever) {
  Ask(MakeHandoff("alice", {"https://push.example/"}));
  Fail(503);
  relay_.reset();
  clock_.Advance(3600);
  // As a full disk would, or another process that reads the queue.
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open((queue_dir_ + "/queue.sqlite").c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  ASSERT_TRUE(Open()) << error_;
  Run();
  EXPECT_EQ(sender_->requests.size(), 0U);
  sqlite3_close(database);
  clock_.Advance(2);
  Run();
  EXPECT_EQ(sender_->requests.size(), 1U);
}

TEST_F(RelayQueueFile, MSG_10_a_full_disk_kept_it_from_starting) {
  const auto inode = [&] {
    struct stat status {};
    EXPECT_EQ(stat(Spool("seal.pub").c_str(), &status), 0);
    return status.st_ino;
  };
  const auto before = inode();
  const auto wal = [&] {
    std::error_code error;
    return std::filesystem::file_size(queue_dir_ + "/queue.sqlite-wal", error);
  };
  Ask(MakeHandoff("alice"));
  AnswerAll(201);
  Reopen();
  // What is as it should be isn't written again.
  EXPECT_EQ(inode(), before);
  EXPECT_LT(wal(), 20000U);
}

TEST_F(RelayQueueFile, MSG_10_one_that_could_not_be_read_kept_it_busy_once_it_had_expired) {
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  sender_->AnswerHttp(503);
  Run();
  Reopen();
  Other(queue_dir_).Do("ALTER TABLE handoff RENAME COLUMN line TO lines");
  clock_.Advance(2 * 86400);
  for (int i = 0; i < 50; ++i) {
    relay_->Run();
  }
  EXPECT_FALSE(relay_->HasWork());
  Other(queue_dir_).Do("ALTER TABLE handoff RENAME COLUMN lines TO line");
  clock_.Advance(61);
  Run();
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(RelayQueueFile, MSG_10_a_push_slept_whose_service_could_not_be_read) {
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  relay_.reset();
  // As it is where the service was forgotten, having nothing to do for a while.
  const string at = std::to_string(clock_.wall / 1000 + 100000);
  Other(queue_dir_).Do("UPDATE origin SET due = " + at + "; UPDATE push SET next = " + at);
  Reopen();
  Other(queue_dir_).Do("ALTER TABLE origin RENAME COLUMN failures TO failure");
  EXPECT_EQ(Ask(MakeHandoff("bob")), "-\tunavailable\n");
  Other(queue_dir_).Do("ALTER TABLE origin RENAME COLUMN failure TO failures");
  EXPECT_EQ(Ask(MakeHandoff("bob")), kQueued);
  EXPECT_EQ(AnswerAll(201), 1);
  clock_.Advance(101);
  Run();
  EXPECT_EQ(AnswerAll(201), 1);
}

}  // namespace
}  // namespace coi::test
