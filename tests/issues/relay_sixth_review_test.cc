// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Mistakes of the relay that the sixth review has found.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "relay_util.h"

namespace coi::test {
namespace {

using push::Handoff;
using std::string;

const char kQueued[] = "+\tqueued\n";

// Somebody else's connection to the queue.
class Other {
 public:
  explicit Other(const string& directory) {
    EXPECT_EQ(sqlite3_open((directory + "/queue.sqlite").c_str(), &database_), SQLITE_OK);
  }
  ~Other() {
    sqlite3_close(database_);
  }
  Other(const Other&) = delete;
  Other& operator=(const Other&) = delete;

  void Do(const string& sql) {
    EXPECT_EQ(sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(database_);
  }

 private:
  sqlite3* database_ = nullptr;
};

class RelaySixthReview : public OpenRelayTest {
 protected:
  static Handoff As(push::HandoffKind kind, Handoff handoff) {
    handoff.kind = kind;
    handoff.id.clear();
    handoff.mail = {};
    return handoff;
  }
  // Alice's only push was not taken; is it sent once it's time?
  void LookForPush() {
    EXPECT_EQ(sender_->requests.size(), 1U);
    sender_->AnswerHttp(503);
    Run();
    clock_.Advance(60);
    Run();
    EXPECT_EQ(AnswerAll(201), 1);
  }
};

TEST_F(RelaySixthReview, SUB_2_what_was_forgotten_took_later_pushes_along) {
  Run();
  Other other(queue_dir_);
  other.Do("BEGIN IMMEDIATE");
  EXPECT_EQ(Ask(As(push::HandoffKind::kForget, MakeHandoff("alice"))), "+\tok\n");
  other.Do("ROLLBACK");
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  clock_.Advance(2);
  Run();
  LookForPush();
}

// A kill before it was noted called it gone again.
TEST_F(RelaySixthReview, MSG_9_one_that_was_gone_was_taken_back_and_that_not_noted) {
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  EXPECT_EQ(AnswerAll(410), 1);
  const auto register_again = [&](const string& user) {
    const int fd = Connect(push::WriteHandoff(MakeRegistration(user)) + "\n");
    Run();
    EXPECT_EQ(AnswerAll(201), 1);
    return Receive(fd);
  };
  Other other(queue_dir_);
  other.Do("BEGIN IMMEDIATE");
  EXPECT_EQ(register_again("alice"), "-\tunavailable\n");
  // Nothing is to be noted of this one.
  EXPECT_EQ(register_again("bob").substr(0, 11), "+\taccepted\t");
  other.Do("ROLLBACK");
  clock_.Advance(2);
  EXPECT_EQ(register_again("alice").substr(0, 11), "+\taccepted\t");
  Reopen();
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
}

TEST_F(RelaySixthReview, MSG_9_one_that_was_gone_took_later_pushes_along) {
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  Other other(queue_dir_);
  other.Do("BEGIN IMMEDIATE");
  sender_->AnswerHttp(410);
  Run();
  other.Do("ROLLBACK");
  const int fd = Connect(push::WriteHandoff(MakeRegistration("alice")) + "\n");
  Run();
  sender_->AnswerHttp(201);
  Run();
  // It couldn't be noted.
  EXPECT_EQ(Receive(fd), "-\tunavailable\n");
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  clock_.Advance(2);
  Run();
  LookForPush();
}

TEST_F(RelaySixthReview, MSG_9_one_that_had_returned_was_called_gone) {
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  sender_->AnswerHttp(410);
  Run();
  const Handoff question = As(push::HandoffKind::kGone, MakeHandoff("alice"));
  EXPECT_EQ(Ask(question), "+\tok\tgone=subscription-0\n");
  Other other(queue_dir_);
  other.Do("BEGIN IMMEDIATE");
  const int fd = Connect(push::WriteHandoff(MakeRegistration("alice")) + "\n");
  Run();
  sender_->AnswerHttp(201);
  Run();
  // It couldn't be noted.
  EXPECT_EQ(Receive(fd), "-\tunavailable\n");
  EXPECT_EQ(Ask(question), "+\tok\n");
  other.Do("ROLLBACK");
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
}

TEST_F(RelaySixthReview, MSG_10_one_that_could_not_be_read_kept_it_busy_once_it_had_expired) {
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

TEST_F(RelaySixthReview, MSG_10_a_push_slept_whose_service_could_not_be_read) {
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

// The one under way is deleted for a newer one, and then wasn't taken.
TEST_F(RelaySixthReview, MSG_10_pushes_slept_behind_one_that_was_replaced) {
  settings_.queue_user_limit = 3;
  settings_.in_flight_origin_limit = 1;
  Reopen();
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  }
  ASSERT_EQ(sender_->requests.size(), 1U);
  ASSERT_EQ(Status().queued, 3U);
  sender_->AnswerHttp(503);
  Run();
  clock_.Advance(3600);
  Run();
  EXPECT_EQ(AnswerAll(201), 3);
}

TEST_F(RelaySixthReview, MSG_9_refused_pushes_slept_as_long_as_another_had_to_wait) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  }
  AnswerAll(403);
  settings_.in_flight_origin_limit = 1;
  Reopen();
  clock_.Advance(4 * 3600);
  Run();
  ASSERT_EQ(sender_->requests.size(), 1U);
  sender_->AnswerHttp(429, 6 * 3600);
  Run();
  EXPECT_EQ(AnswerAll(201), 2);
}

TEST_F(RelaySixthReview, END_4_a_service_that_answers_waited_for_those_that_do_not) {
  settings_.in_flight_limit = 8;
  Reopen();
  // Three of the four that may be under way to services nobody knows hang.
  int user = 0;
  const auto ask = [&](const string& url) {
    EXPECT_EQ(Ask(MakeHandoff("user" + std::to_string(user++), {url})), kQueued);
  };
  for (int i = 0; i < 3; ++i) {
    ask("https://hangs" + std::to_string(i) + ".example/a");
  }
  ask("https://good.example/a");
  ASSERT_EQ(sender_->requests.size(), 4U);
  for (int i = 3; i < 30; ++i) {
    ask("https://hangs" + std::to_string(i) + ".example/a");
  }
  for (int i = 0; i < 10; ++i) {
    ask("https://good.example/a");
  }
  std::swap(sender_->requests[0], sender_->requests[3]);
  EXPECT_EQ(sender_->AnswerHttp(201).endpoint.origin, "https://good.example");
  Run();
  int count = 0;
  for (const relay::PushRequest& request : sender_->requests) {
    count += request.endpoint.origin == "https://good.example" ? 1 : 0;
  }
  EXPECT_GT(count, 0);
}

// The owner of a file may set it to anything, and a tmpfs keeps that. In microseconds it
// overflowed, and the mail was as old as 1970.
TEST_F(RelaySixthReview, MSG_10_a_spool_file_of_a_time_that_no_clock_has) {
  const TemporaryDirectory memory("/dev/shm");
  spool_dir_ = memory.Make("spool", 01733);
  settings_.spool_dir = spool_dir_.c_str();
  Reopen();
  const Handoff handoff = MakeHandoff("alice");
  PutIntoSpool(handoff);
  const timespec time = {int64_t{1} << 62, 0};
  const timespec times[] = {time, time};
  ASSERT_EQ(utimensat(AT_FDCWD, Spool(handoff.id + ".handoff").c_str(), times, 0), 0);
  Run();
  EXPECT_EQ(sender_->requests.size(), 1U);
}

}  // namespace
}  // namespace coi::test
