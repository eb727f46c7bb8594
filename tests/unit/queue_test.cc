// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/queue.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <thread>

#include "relay/retry.h"
#include "relay/throttle.h"
#include "relay_util.h"

namespace coi::test {
namespace {

using relay::Expected;
using relay::QueuedPush;
using std::optional;
using std::string;
using std::vector;

constexpr int64_t kNow = int64_t{1800000000} * 1000;

class Queue : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(Open()) << error_;
  }
  bool Open() {
    queue_.reset();
    error_.clear();
    queue_ = relay::Queue::Open(
        options_, kNow, [this](enum coi_relay_log, const string& text) { logs_.push_back(text); },
        &error_);
    return queue_ != nullptr;
  }
  vector<string> Rows(const char* sql) {
    vector<string> rows;
    sqlite3_stmt* statement = nullptr;
    EXPECT_EQ(sqlite3_prepare_v2(queue_->database(), sql, -1, &statement, nullptr), SQLITE_OK)
        << sqlite3_errmsg(queue_->database());
    while (sqlite3_step(statement) == SQLITE_ROW) {
      string row;
      for (int i = 0; i < sqlite3_column_count(statement); ++i) {
        const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, i));
        row += (i > 0 ? "|" : "") + string(text == nullptr ? "NULL" : text);
      }
      rows.push_back(row);
    }
    sqlite3_finalize(statement);
    return rows;
  }
  // A hand-off with pushes of these subscriptions.
  int64_t Put(int64_t user, const vector<int64_t>& subscriptions, int64_t origin = 7) {
    const int64_t id = queue_->NewHandoffId();
    EXPECT_TRUE(queue_->Begin());
    EXPECT_TRUE(queue_->PutHandoff(id, 1000 + id, kNow * 1000, "sealed"));
    for (size_t i = 0; i < subscriptions.size(); ++i) {
      QueuedPush push;
      push.id = id * relay::kPushesPerHandoff + static_cast<int64_t>(i);
      push.user = user;
      push.subscription = subscriptions[i];
      push.origin = origin;
      push.next = kNow;
      push.expires = kNow + 86400000;
      EXPECT_TRUE(queue_->PutPush(push));
    }
    EXPECT_TRUE(queue_->Commit());
    return id;
  }
  vector<int64_t> Due(int64_t now, int64_t origin = 7) {
    vector<QueuedPush> pushes;
    bool all = false;
    EXPECT_TRUE(queue_->Due(
        origin, now, 100, [](const QueuedPush&) { return true; }, &pushes, &all));
    EXPECT_TRUE(all);
    vector<int64_t> ids;
    ids.reserve(pushes.size());
    for (const QueuedPush& push : pushes) {
      ids.push_back(push.id / relay::kPushesPerHandoff);
    }
    return ids;
  }

  TemporaryDirectory directory_;
  relay::Queue::Options options_{directory_.path(), {}, 0};
  string error_;
  vector<string> logs_;
  std::unique_ptr<relay::Queue> queue_;
};

// docs/queue.md has the same. A change needs a new version, and a step to it.
TEST_F(Queue, Has_this_schema) {
  const vector<string> expected = {
      R"(CREATE TABLE handoff (
  id INTEGER PRIMARY KEY,
  name INTEGER NOT NULL,
  accepted INTEGER NOT NULL,
  line BLOB NOT NULL
) STRICT)",
      "CREATE UNIQUE INDEX handoff_by_name ON handoff (name)",
      R"(CREATE TABLE push (
  id INTEGER PRIMARY KEY,
  user INTEGER NOT NULL,
  subscription INTEGER NOT NULL,
  origin INTEGER NOT NULL,
  next INTEGER,
  attempts INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  flags INTEGER NOT NULL
) STRICT)",
      "CREATE INDEX push_by_user ON push (user, subscription)",
      "CREATE INDEX push_by_origin ON push (origin, next) WHERE next IS NOT NULL",
      R"(CREATE TABLE subscription (
  id INTEGER PRIMARY KEY,
  gone INTEGER,
  resume INTEGER
) STRICT)",
      "CREATE INDEX subscription_by_gone ON subscription (gone) WHERE gone IS NOT NULL",
      R"(CREATE TABLE origin (
  id INTEGER PRIMARY KEY,
  due INTEGER,
  failures INTEGER NOT NULL,
  resume INTEGER NOT NULL
) STRICT)",
      "CREATE INDEX origin_by_due ON origin (due) WHERE due IS NOT NULL",
      R"(CREATE TABLE clock (
  id INTEGER PRIMARY KEY,
  skew INTEGER NOT NULL
) STRICT)",
  };
  EXPECT_EQ(Rows("SELECT sql FROM sqlite_master ORDER BY rowid"), expected);
  EXPECT_EQ(Rows("PRAGMA user_version"), vector<string>{"2"});
  EXPECT_EQ(Rows("PRAGMA application_id"), vector<string>{"1129269617"});
  EXPECT_EQ(Rows("PRAGMA journal_mode"), vector<string>{"wal"});
  EXPECT_EQ(Rows("PRAGMA synchronous"), vector<string>{"1"});
}

TEST_F(Queue, Is_for_its_owner_only) {
  Put(1, {2});
  for (const char* name : {"queue.sqlite", "queue.sqlite-wal", "queue.sqlite-shm", "queue.lock"}) {
    struct stat status {};
    ASSERT_EQ(stat((directory_.path() + "/" + name).c_str(), &status), 0) << name;
    EXPECT_EQ(status.st_mode & 0777U, 0600U) << name;
  }
}

// Nothing that it asks may become slower the more is waiting.
TEST_F(Queue, Scans_no_table) {
  int plans = 0;
  for (const char* sql : relay::Queue::Statements()) {
    for (const string& row : Rows((string("EXPLAIN QUERY PLAN ") + sql).c_str())) {
      ++plans;
      EXPECT_EQ(row.find("SCAN"), string::npos) << sql << "\n" << row;
      // One user's pushes, of which there is a limit.
      if (row.find("TEMP B-TREE") != string::npos) {
        EXPECT_NE(string(sql).find("WHERE user = ?1 ORDER BY id LIMIT"), string::npos) << sql;
      }
    }
  }
  EXPECT_GT(plans, 20);
}

// Anyone can have as many subscriptions that are gone as he likes.
TEST_F(Queue, Forgets_the_oldest_of_those_that_are_gone) {
  ASSERT_TRUE(queue_->Begin());
  for (int64_t id = 1; id <= 12000; ++id) {
    relay::SubscriptionState state;
    state.gone = kNow + (id + 1) / 2;
    ASSERT_TRUE(queue_->PutSubscription(id, state));
  }
  const auto ids = [&](const char* what) {
    return std::stoll(Rows((string("SELECT ") + what + " FROM subscription").c_str())[0]);
  };
  bool more = false;
  EXPECT_TRUE(queue_->PurgeGone(kNow, 12000, &more));
  EXPECT_FALSE(more);
  EXPECT_EQ(ids("count(*)"), 12000);
  for (const int left : {7000, 2000, 100}) {
    EXPECT_TRUE(queue_->PurgeGone(kNow, 100, &more));
    EXPECT_EQ(more, left != 100);
    EXPECT_EQ(ids("count(*)"), left);
  }
  EXPECT_EQ(ids("min(id)"), 11901);
  EXPECT_TRUE(queue_->PurgeGone(kNow + 6000, 100, &more));
  EXPECT_EQ(ids("count(*)"), 2);
  EXPECT_TRUE(queue_->Commit());
}

TEST_F(Queue, Refuses_what_it_does_not_know) {
  ASSERT_EQ(sqlite3_exec(queue_->database(), "PRAGMA user_version = 3", nullptr, nullptr, nullptr),
            SQLITE_OK);
  EXPECT_FALSE(Open());
  EXPECT_NE(error_.find("later version"), string::npos) << error_;
  EXPECT_TRUE(logs_.empty());
}

TEST_F(Queue, Refuses_another_programs_database) {
  // Most programs give it no number.
  for (const string number : {"5", "0"}) {
    options_.directory = directory_.Make(number);
    ASSERT_TRUE(Open()) << error_;
    ASSERT_EQ(sqlite3_exec(queue_->database(), ("PRAGMA application_id = " + number).c_str(),
                           nullptr, nullptr, nullptr),
              SQLITE_OK);
    EXPECT_FALSE(Open()) << number;
    EXPECT_NE(error_.find("another program"), string::npos) << error_;
    EXPECT_TRUE(logs_.empty());
  }
}

TEST_F(Queue, Follows_no_link) {
  for (const char* name : {"queue.lock", "queue.sqlite"}) {
    options_.directory = directory_.Make(string("of-") + name);
    const string other = directory_.path() + "/other-" + name;
    ASSERT_EQ(symlink(other.c_str(), (options_.directory + "/" + name).c_str()), 0);
    EXPECT_FALSE(Open()) << name;
    EXPECT_NE(error_.find(name), string::npos) << error_;
    EXPECT_NE(access(other.c_str(), F_OK), 0) << name;
  }
}

TEST_F(Queue, Keeps_all_that_is_damaged) {
  const string path = directory_.path() + "/queue.sqlite";
  const auto inode = [](const string& file) {
    struct stat status {};
    return stat(file.c_str(), &status) == 0 ? status.st_ino : 0;
  };
  for (const char* to : {"", "-2", "-3"}) {
    Put(1, {2});
    // While somebody looks into it, closing it removes no log.
    sqlite3* other = nullptr;
    ASSERT_EQ(sqlite3_open(path.c_str(), &other), SQLITE_OK);
    ASSERT_EQ(
        sqlite3_exec(other, "SELECT * FROM push; PRAGMA wal_checkpoint", nullptr, nullptr, nullptr),
        SQLITE_OK);
    const ino_t log = inode(path + "-wal");
    const ino_t index = inode(path + "-shm");
    EXPECT_NE(log, 0U);
    EXPECT_NE(index, 0U);
    WriteFile(path, string(10000, 'x'));
    ASSERT_TRUE(Open()) << error_;
    EXPECT_EQ(queue_->count(), 0);
    const string name = path + ".damaged-20270115T080000Z" + to;
    EXPECT_EQ(ReadFile(name), string(10000, 'x')) << name;
    EXPECT_EQ(inode(name + "-wal"), log);
    EXPECT_NE(inode(path + "-shm"), index);
    sqlite3_close(other);
  }
  EXPECT_EQ(logs_.size(), 3U);
}

TEST_F(Queue, Shrinks_once_it_is_empty) {
  const string file = directory_.path() + "/queue.sqlite";
  const auto size = [&] {
    return std::filesystem::file_size(file) + std::filesystem::file_size(file + "-wal");
  };
  const int64_t id = Put(1, {2});
  ASSERT_TRUE(queue_->Begin());
  const string line(1000000, 'x');
  for (int i = 0; i < 80; ++i) {
    const int64_t big = queue_->NewHandoffId();
    ASSERT_TRUE(queue_->PutHandoff(big, big, kNow, line));
  }
  ASSERT_TRUE(queue_->Commit());
  ASSERT_EQ(sqlite3_exec(queue_->database(), "DELETE FROM handoff WHERE length(line) = 1000000",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  // That takes long, and others wait meanwhile.
  queue_->Shrink();
  EXPECT_GT(size(), 64U << 20U);
  vector<Expected> expected;
  ASSERT_TRUE(queue_->Begin());
  EXPECT_TRUE(queue_->DeletePush(id * relay::kPushesPerHandoff, &expected, kNow));
  ASSERT_TRUE(queue_->Commit());

  // While somebody reads it, or a checkpoint is under way, it can't; then the next one does.
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN; SELECT count(*) FROM push", nullptr, nullptr, nullptr),
            SQLITE_OK);
  queue_->Shrink();
  EXPECT_GT(size(), 64U << 20U);
  ASSERT_EQ(sqlite3_close(other), SQLITE_OK);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (size() > 1000000 && std::chrono::steady_clock::now() < end) {
    queue_->Shrink();
    std::this_thread::yield();
  }
  EXPECT_LE(size(), 1000000U);
}

TEST_F(Queue, Upgrades) {
  const int64_t id = Put(1, {2});
  static constexpr const char* kNext = "ALTER TABLE push ADD COLUMN more INTEGER";
  vector<const char*> schema(relay::Queue::Schema().begin(), relay::Queue::Schema().end());
  schema.push_back(kNext);
  options_.schema = schema;
  ASSERT_TRUE(Open()) << error_;
  EXPECT_EQ(Rows("PRAGMA user_version"), vector<string>{"3"});
  EXPECT_EQ(Rows("SELECT id, user, more FROM push"),
            vector<string>{std::to_string(id * relay::kPushesPerHandoff) + "|1|NULL"});
  ASSERT_TRUE(Open()) << error_;
  // A new one gets there in the same steps.
  options_.directory = directory_.Make("new");
  ASSERT_TRUE(Open()) << error_;
  EXPECT_EQ(Rows("PRAGMA user_version"), vector<string>{"3"});
}

TEST_F(Queue, Takes_a_queue_of_the_first_version) {
  Put(1, {2});
  ASSERT_EQ(sqlite3_exec(queue_->database(), "DROP TABLE clock; PRAGMA user_version = 1", nullptr,
                         nullptr, nullptr),
            SQLITE_OK);
  ASSERT_TRUE(Open()) << error_;
  EXPECT_EQ(Rows("PRAGMA user_version"), vector<string>{"2"});
  EXPECT_EQ(queue_->count(), 1);
  EXPECT_EQ(queue_->skew(), 0);
}

TEST_F(Queue, Keeps_its_clock) {
  Put(1, {2});
  queue_->SetSkew(5000);
  // Written with what comes next, and only if that is.
  ASSERT_TRUE(queue_->Begin());
  queue_->Rollback();
  EXPECT_EQ(Rows("SELECT skew FROM clock"), vector<string>{});
  ASSERT_TRUE(queue_->Begin());
  ASSERT_TRUE(queue_->Commit());
  EXPECT_EQ(Rows("SELECT skew FROM clock"), vector<string>{"5000"});
  ASSERT_TRUE(Open()) << error_;
  EXPECT_EQ(queue_->skew(), 5000);
  // It never runs backwards.
  queue_->SetSkew(int64_t{7200} * 1000);
  ASSERT_TRUE(queue_->Begin());
  ASSERT_TRUE(queue_->Commit());
  ASSERT_TRUE(Open()) << error_;
  EXPECT_EQ(queue_->skew(), 0);
  EXPECT_EQ(Rows("SELECT skew FROM clock"), vector<string>{"0"});
}

TEST_F(Queue, An_upgrade_that_fails_changes_nothing) {
  Put(1, {2});
  vector<const char*> schema(relay::Queue::Schema().begin(), relay::Queue::Schema().end());
  schema.push_back("ALTER TABLE push ADD COLUMN more INTEGER; DROP TABLE nonsense");
  options_.schema = schema;
  EXPECT_FALSE(Open());
  EXPECT_NE(error_, "");
  options_.schema = {};
  ASSERT_TRUE(Open()) << error_;
  EXPECT_EQ(queue_->count(), 1);
}

TEST_F(Queue, Belongs_to_one_process) {
  string error;
  const relay::Log log = [](enum coi_relay_log, const string&) {};
  options_.patience = std::chrono::milliseconds(50);
  EXPECT_EQ(relay::Queue::Open(options_, kNow, log, &error), nullptr);
  EXPECT_NE(error.find("another process"), string::npos) << error;
}

TEST_F(Queue, Counts) {
  Put(1, {2, 3});
  const int64_t id = Put(1, {2});
  EXPECT_EQ(queue_->count(), 3);
  ASSERT_TRUE(Open());
  EXPECT_EQ(queue_->count(), 3);
  EXPECT_GT(queue_->NewHandoffId(), id);
  vector<Expected> expected;
  ASSERT_TRUE(queue_->Begin());
  EXPECT_TRUE(queue_->DeletePush(id * relay::kPushesPerHandoff, &expected, kNow));
  queue_->Rollback();
  EXPECT_EQ(queue_->count(), 3);
  ASSERT_TRUE(queue_->Begin());
  EXPECT_TRUE(queue_->DeletePush(id * relay::kPushesPerHandoff, &expected, kNow));
  ASSERT_TRUE(queue_->Commit());
  EXPECT_EQ(queue_->count(), 2);
  EXPECT_EQ(Rows("SELECT count(*) FROM handoff"), vector<string>{"1"});
}

TEST_F(Queue, The_log_is_brought_into_the_database_meanwhile) {
  const auto size = [&] {
    return std::filesystem::file_size(options_.directory + "/queue.sqlite");
  };
  const auto before = size();
  const string line(4000, 'x');
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(queue_->Begin());
    for (int j = 0; j < 50; ++j) {
      const int64_t id = queue_->NewHandoffId();
      ASSERT_TRUE(queue_->PutHandoff(id, id, kNow, line));
    }
    ASSERT_TRUE(queue_->Commit());
  }
  for (int i = 0; i < 6000 && size() < before + 1000000; ++i) {
    const timespec pause{0, 10000000};
    nanosleep(&pause, nullptr);
  }
  EXPECT_GE(size(), before + 1000000);
  ASSERT_TRUE(Open());
  EXPECT_EQ(Rows("SELECT count(*) FROM handoff"), vector<string>{"3000"});
}

TEST_F(Queue, A_handoff_goes_with_its_last_push) {
  const int64_t id = Put(1, {2, 3});
  vector<Expected> expected;
  ASSERT_TRUE(queue_->Begin());
  EXPECT_TRUE(queue_->DeletePush(id * relay::kPushesPerHandoff, &expected, kNow));
  EXPECT_EQ(Rows("SELECT count(*) FROM handoff"), vector<string>{"1"});
  EXPECT_TRUE(queue_->DeletePush(id * relay::kPushesPerHandoff + 1, &expected, kNow));
  EXPECT_TRUE(queue_->DeletePush(id * relay::kPushesPerHandoff + 1, &expected, kNow));
  EXPECT_TRUE(queue_->Commit());
  EXPECT_EQ(Rows("SELECT count(*) FROM handoff"), vector<string>{"0"});
  EXPECT_EQ(queue_->count(), 0);
}

TEST_F(Queue, A_line_moves_on_one_by_one) {
  const int64_t first = Put(1, {2});
  const int64_t second = Put(1, {2});
  const int64_t third = Put(1, {2});
  const int64_t other = Put(1, {3});
  vector<Expected> expected;
  const auto id = [](int64_t handoff) { return handoff * relay::kPushesPerHandoff; };
  ASSERT_TRUE(queue_->Begin());
  // The second one fails first.
  EXPECT_TRUE(queue_->Hold(id(second), 1, 2, kNow + 60000, 1, &expected, kNow));
  ASSERT_TRUE(queue_->Commit());
  EXPECT_EQ(Due(kNow), vector<int64_t>{other});
  EXPECT_EQ(Due(kNow + 60000), (vector<int64_t>{other, first}));
  ASSERT_EQ(expected.size(), 1U);
  EXPECT_EQ(expected[0].next, kNow + 60000);
  // The first one was under way, and has made it: still nothing before that.
  expected.clear();
  ASSERT_TRUE(queue_->Begin());
  EXPECT_TRUE(queue_->DeletePush(id(first), &expected, kNow + 1));
  ASSERT_TRUE(queue_->Commit());
  EXPECT_EQ(Due(kNow + 59999), vector<int64_t>{other});
  EXPECT_EQ(Due(kNow + 60000), (vector<int64_t>{other, second}));
  // Refused: the line goes on without it.
  ASSERT_TRUE(queue_->Begin());
  EXPECT_TRUE(
      queue_->Defer(id(second), kNow + 600000, 2, relay::kFlagApart, &expected, kNow + 60000));
  ASSERT_TRUE(queue_->Commit());
  EXPECT_EQ(Due(kNow + 60000), (vector<int64_t>{other, third}));
  ASSERT_TRUE(queue_->Begin());
  EXPECT_TRUE(queue_->DeletePush(id(third), &expected, kNow + 60001));
  ASSERT_TRUE(queue_->Commit());
  EXPECT_EQ(Rows("SELECT count(*) FROM subscription"), vector<string>{"0"});
  EXPECT_EQ(Due(kNow + 600000), (vector<int64_t>{other, second}));
}

// -- a disk of its own --

struct RoomCase {
  off_t free;
  uint64_t size;
  bool has_room;
};

constexpr off_t kMegabyte = off_t{1} << 20U;
constexpr int kNoMount = 77;

// In a process that sees this directory as a small disk. Returns the first case that
// is wrong, counted from 1.
int WrongRoom(const string& directory, const vector<RoomCase>& cases) {
  if (unshare(CLONE_NEWNS) != 0 ||
      mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("none", directory.c_str(), "tmpfs", 0, "size=16m") != 0) {
    return kNoMount;
  }
  string error;
  const auto queue = relay::Queue::Open(
      {directory, {}, 0}, kNow, [](enum coi_relay_log, const string&) {}, &error);
  const int fill = open((directory + "/fill").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  struct statvfs disk {};
  if (queue == nullptr || fill == -1) {
    return -1;
  }
  for (size_t i = 0; i < cases.size(); ++i) {
    if (ftruncate(fill, 0) != 0 || statvfs(directory.c_str(), &disk) != 0 ||
        posix_fallocate(fill, 0,
                        static_cast<off_t>(disk.f_bavail * disk.f_frsize) - cases[i].free) != 0) {
      return -1;
    }
    if (queue->HasRoom(cases[i].size) != cases[i].has_room) {
      return static_cast<int>(i) + 1;
    }
  }
  return 0;
}

// What is sent must be noted, even where nothing more can be taken.
TEST(QueueRoom, MSG_10_leaves_some_of_the_disk) {
  const TemporaryDirectory directory;
  const pid_t child = fork();
  ASSERT_NE(child, -1);
  if (child == 0) {
    _exit(WrongRoom(directory.path(), {{8 * kMegabyte, 0, true},
                                       {3 * kMegabyte, 0, false},
                                       // It is written twice.
                                       {5 * kMegabyte, 1U << 20U, false},
                                       {7 * kMegabyte, 1U << 20U, true}}));
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kNoMount) {
    GTEST_SKIP() << "nothing can be mounted here";
  }
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// -- the rules --

TEST(Retry, MSG_9_verdicts) {
  const struct {
    int status;
    relay::Verdict verdict;
  } cases[] = {
      {200, relay::Verdict::kDelivered}, {201, relay::Verdict::kDelivered},
      {202, relay::Verdict::kDelivered}, {204, relay::Verdict::kDelivered},
      {203, relay::Verdict::kDelivered}, {299, relay::Verdict::kDelivered},
      {199, relay::Verdict::kKeep},      {300, relay::Verdict::kKeep},
      {301, relay::Verdict::kKeep},      {302, relay::Verdict::kKeep},
      {308, relay::Verdict::kKeep},      {400, relay::Verdict::kKeep},
      {401, relay::Verdict::kKeep},      {403, relay::Verdict::kKeep},
      {404, relay::Verdict::kGone},      {410, relay::Verdict::kGone},
      {408, relay::Verdict::kRetry},     {413, relay::Verdict::kWithoutContent},
      {429, relay::Verdict::kRetry},     {500, relay::Verdict::kRetry},
      {503, relay::Verdict::kRetry},     {507, relay::Verdict::kRetry},
      {599, relay::Verdict::kRetry},     {600, relay::Verdict::kKeep},
      {0, relay::Verdict::kKeep},        {-1, relay::Verdict::kKeep},
      {100, relay::Verdict::kKeep},      {999, relay::Verdict::kKeep},
  };
  for (const auto& one : cases) {
    const relay::SendResult result = {1, relay::SendStatus::kAnswered, one.status, {}, ""};
    EXPECT_EQ(relay::Judge(result, false), one.verdict) << one.status;
  }
  EXPECT_EQ(relay::Judge({1, relay::SendStatus::kAnswered, 413, {}, ""}, true),
            relay::Verdict::kDrop);
  EXPECT_EQ(relay::Judge({1, relay::SendStatus::kUnreachable, 0, {}, ""}, false),
            relay::Verdict::kRetry);
  EXPECT_EQ(relay::Judge({1, relay::SendStatus::kNotAllowed, 0, {}, ""}, false),
            relay::Verdict::kKeep);
}

TEST(Retry, MSG_9_what_was_wrong) {
  const struct {
    relay::SendResult result;
    string problem;
  } cases[] = {
      {{1, relay::SendStatus::kAnswered, 503, {}, ""}, "HTTP 503"},
      // What it had to say of the connection that answered is of no use.
      {{1, relay::SendStatus::kAnswered, 403, {}, "closed"}, "HTTP 403"},
      {{1, relay::SendStatus::kUnreachable, 0, {}, "refused"}, "refused"},
      {{1, relay::SendStatus::kNotAllowed, 0, {}, "is internal"}, "is internal"},
      {{1, relay::SendStatus::kUnreachable, 0, {}, ""}, "unreachable"},
  };
  for (const auto& one : cases) {
    EXPECT_EQ(relay::Problem(one.result), one.problem);
  }
}

TEST(Retry, MSG_9_back_off) {
  const struct {
    std::function<int64_t(unsigned int, uint32_t)> delay;
    vector<int64_t> nominal_secs;
  } cases[] = {
      {[](unsigned int times, uint32_t random) { return relay::RetryDelay(times, {}, random); },
       {5, 10, 20, 40, 80, 160, 320, 640, 900, 900}},
      {relay::KeepDelay, {600, 1200, 2400, 4800, 9600, 14400, 14400}},
      {relay::OriginPause, {5, 10, 20, 40, 80, 160, 300, 300}},
  };
  for (const auto& one : cases) {
    unsigned int times = 1;
    for (const int64_t seconds : one.nominal_secs) {
      EXPECT_EQ(one.delay(times, 0), seconds * 750) << times;
      EXPECT_EQ(one.delay(times, 0xffff), seconds * 1250) << times;
      EXPECT_EQ(one.delay(times, 0xffffffffU), seconds * 1250) << times;
      EXPECT_NEAR(one.delay(times, 0x7fff), seconds * 1000, seconds) << times;
      ++times;
    }
  }
  EXPECT_LE(relay::RetryDelay(4000000000U, {}, 0xffff), 1125000);
  EXPECT_EQ(relay::RetryDelay(1, 100, 0), 100000);
  EXPECT_EQ(relay::RetryDelay(1, 100, 0xffff), 110000);
  for (const int64_t absurd : {int64_t{1} << 62U, INT64_MAX, int64_t{21601}}) {
    EXPECT_EQ(relay::RetryDelay(1, absurd, 0xffff), relay::kMaxDelayMsecs);
  }
  for (const int64_t garbage : {INT64_MIN, int64_t{-1}, int64_t{0}}) {
    EXPECT_LE(relay::RetryDelay(1, garbage, 0xffff), 6250);
  }
}

TEST(Throttle, END_5_forgets_nobody_who_is_locked) {
  relay::Throttle throttle(10);
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(throttle.Take(1, 0));
    throttle.Failed(1, 0);
  }
  EXPECT_FALSE(throttle.Take(1, 1000));
  for (int64_t user = 2; user < 70000; ++user) {
    EXPECT_TRUE(throttle.Take(user, 1000));
  }
  EXPECT_FALSE(throttle.Take(1, 1000));
  EXPECT_TRUE(throttle.Take(1, relay::Throttle::kLockMsecs));
}

TEST(Printable, SUB_12_is_one_line_of_text) {
  const struct {
    string text, printable;
  } cases[] = {
      {"plain", "plain"},
      {"a\r\nb\tc", "a??b?c"},
      {string("a\0b", 3), "a?b"},
      {"\xc3\xa4", "\xc3\xa4"},
      {"\xc3", "?"},
      {"\xff\xfe", "??"},
      {"\xc2\x9b", "?"},
      {string(300, 'x'), string(255, 'x') + "..."},
  };
  for (const auto& one : cases) {
    EXPECT_EQ(relay::Printable(one.text), one.printable);
  }
}

}  // namespace
}  // namespace coi::test
