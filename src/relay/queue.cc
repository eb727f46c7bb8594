// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// The format is in docs/queue.md.

#include "relay/queue.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <iterator>
#include <thread>

#include "relay/retry.h"

namespace coi::relay {
namespace {

using std::optional;
using std::string;
using std::string_view;
using std::vector;

// Pages of the log after which they are brought into the database; and beyond
// which that isn't left to others.
constexpr int kLogPages = 2000;
constexpr int kLogPagesMax = 16000;
// What must stay free on the disk: with the log full of what there is no room for
// in the database, not even a push that was sent could be deleted. Looked at anew
// after so many pages of the log.
constexpr uint64_t kReserve = uint64_t{4} << 20U;
constexpr int kLookPages = 64;
constexpr uint64_t kPageSize = 4096;
// Rows that are looked at for some that are wanted: some milliseconds.
constexpr int kLookAtMax = 8192;

// "COIq"
constexpr int64_t kApplicationId = 0x434f4971;

constexpr const char* kSchema[] = {
    // 0 -> 1
    "CREATE TABLE handoff (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  name INTEGER NOT NULL,\n"
    "  accepted INTEGER NOT NULL,\n"
    "  line BLOB NOT NULL\n"
    ") STRICT;\n"
    "CREATE UNIQUE INDEX handoff_by_name ON handoff (name);\n"
    "CREATE TABLE push (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  user INTEGER NOT NULL,\n"
    "  subscription INTEGER NOT NULL,\n"
    "  origin INTEGER NOT NULL,\n"
    "  next INTEGER,\n"
    "  attempts INTEGER NOT NULL,\n"
    "  expires INTEGER NOT NULL,\n"
    "  flags INTEGER NOT NULL\n"
    ") STRICT;\n"
    "CREATE INDEX push_by_user ON push (user, subscription);\n"
    "CREATE INDEX push_by_origin ON push (origin, next) WHERE next IS NOT NULL;\n"
    "CREATE TABLE subscription (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  gone INTEGER,\n"
    "  resume INTEGER\n"
    ") STRICT;\n"
    "CREATE INDEX subscription_by_gone ON subscription (gone) WHERE gone IS NOT NULL;\n"
    "CREATE TABLE origin (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  due INTEGER,\n"
    "  failures INTEGER NOT NULL,\n"
    "  resume INTEGER NOT NULL\n"
    ") STRICT;\n"
    "CREATE INDEX origin_by_due ON origin (due) WHERE due IS NOT NULL;\n",
    // 1 -> 2
    "CREATE TABLE clock (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  skew INTEGER NOT NULL\n"
    ") STRICT;\n"};

#define PUSH_COLUMNS "id, user, subscription, origin, next, attempts, expires, flags"

// In the order of Queue::Sql.
constexpr const char* kStatements[] = {
    "BEGIN IMMEDIATE",
    "COMMIT",
    "SELECT id FROM handoff WHERE name = ?1",
    "INSERT INTO handoff (id, name, accepted, line) VALUES (?1, ?2, ?3, ?4)",
    "SELECT accepted, line FROM handoff WHERE id = ?1",
    "DELETE FROM handoff WHERE id = ?1"
    " AND NOT EXISTS (SELECT 1 FROM push WHERE id BETWEEN ?2 AND ?3)",
    "INSERT INTO push (" PUSH_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    "SELECT " PUSH_COLUMNS " FROM push WHERE id = ?1",
    "DELETE FROM push WHERE id = ?1 RETURNING user, subscription",
    "UPDATE push SET next = ?2, attempts = ?3, flags = ?4 WHERE id = ?1",
    "UPDATE push SET origin = ?2, next = ?3 WHERE id = ?1",
    "SELECT id FROM push WHERE user = ?1 AND subscription = ?2 AND id < ?3",
    // 2 is kFlagApart.
    "UPDATE push SET next = NULL"
    " WHERE user = ?1 AND subscription = ?2 AND next IS NOT NULL AND flags & 2 = 0",
    "SELECT " PUSH_COLUMNS
    " FROM push WHERE user = ?1 AND subscription = ?2 AND flags & 2 = 0 ORDER BY id LIMIT 1",
    "SELECT " PUSH_COLUMNS
    " FROM push WHERE user = ?1 AND subscription = ?2 AND flags & 2 = 0 ORDER BY id DESC LIMIT 1",
    "UPDATE push SET expires = max(expires, ?2), next = max(next, ?3) WHERE id = ?1",
    "SELECT " PUSH_COLUMNS " FROM push WHERE user = ?1 AND subscription = ?2 AND flags & 2 != 0",
    "SELECT count(*) FROM push WHERE user = ?1",
    "SELECT " PUSH_COLUMNS " FROM push WHERE user = ?1 ORDER BY id LIMIT ?2",
    "SELECT " PUSH_COLUMNS " FROM push WHERE origin = ?1 AND next <= ?2 ORDER BY next, id",
    "SELECT next FROM push WHERE origin = ?1 AND next > ?2 ORDER BY next LIMIT 1",
    "UPDATE push SET next = ?3 WHERE origin = ?1 AND next > ?2",
    "SELECT id, origin FROM push WHERE id > ?1 ORDER BY id LIMIT ?2",
    "SELECT gone, resume FROM subscription WHERE id = ?1",
    "INSERT INTO subscription (id, gone, resume) VALUES (?1, ?2, ?3)"
    " ON CONFLICT (id) DO UPDATE SET gone = excluded.gone, resume = excluded.resume",
    "DELETE FROM subscription WHERE id = ?1",
    "DELETE FROM subscription WHERE id IN (SELECT id FROM subscription"
    " WHERE gone < max(?1, 1 + ifnull((SELECT gone FROM subscription WHERE gone > 0"
    " ORDER BY gone DESC LIMIT 1 OFFSET ?2), 0)) AND resume IS NULL ORDER BY gone LIMIT ?3)",
    "SELECT id, due, failures, resume FROM origin WHERE id = ?1",
    "INSERT INTO origin (id, due, failures, resume) VALUES (?1, ?2, ?3, ?4)"
    " ON CONFLICT (id) DO UPDATE SET due = excluded.due, failures = excluded.failures,"
    " resume = excluded.resume",
    "DELETE FROM origin WHERE id = ?1",
    "SELECT id, due, failures, resume FROM origin WHERE due BETWEEN 0 AND ?1"
    " ORDER BY due LIMIT ?2",
    "SELECT due FROM origin WHERE due >= 0 ORDER BY due LIMIT 1",
    "UPDATE origin SET due = 0 WHERE due = -1",
    "UPDATE origin SET due = 0 WHERE due > ?1",
    "SELECT skew FROM clock WHERE id = 0",
    "INSERT INTO clock (id, skew) VALUES (0, ?1)"
    " ON CONFLICT (id) DO UPDATE SET skew = excluded.skew",
    "SELECT accepted FROM handoff WHERE id = (SELECT max(id) FROM handoff)",
};

string Errno(const string& what) {
  return what + ": " + std::strerror(errno);
}

int64_t FileSize(const string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 ? status.st_size : 0;
}

bool IsDamage(int code) {
  return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

bool IsFull(int code) {
  return (code & 0xff) == SQLITE_FULL || code == SQLITE_IOERR_WRITE;
}

string TimeStamp(int64_t wall) {
  const auto seconds = static_cast<time_t>(wall / 1000);
  tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  return {text, strftime(text, sizeof(text), "%Y%m%dT%H%M%SZ", &parts)};
}

}  // namespace

enum Queue::Sql : int {
  kBegin,
  kCommit,
  kFindHandoff,
  kPutHandoff,
  kGetHandoff,
  kDeleteHandoff,
  kPutPush,
  kGetPush,
  kDeletePush,
  kSetNext,
  kMoveToOrigin,
  kOfSubscription,
  kHold,
  kHeadOfLine,
  kLastOfLine,
  kExtend,
  kRefused,
  kCountUser,
  kOldestOfUser,
  kDue,
  kNextDue,
  kHasten,
  kAfter,
  kGetSubscription,
  kPutSubscription,
  kDeleteSubscription,
  kPurgeGone,
  kGetOrigin,
  kPutOrigin,
  kDeleteOrigin,
  kDueOrigins,
  kNextOrigin,
  kWakeActive,
  kWakeFar,
  kGetSkew,
  kPutSkew,
  kLastAccepted,
};

// A prepared statement while it is being used.
class Queue::Use {
 public:
  Use(Queue* queue, Sql sql)
      : queue_(queue),
        statement_(queue->failed_ || queue->statements_.empty() ? nullptr
                                                                : queue->statements_[sql]) {
    if (statement_ == nullptr) {
      queue->failed_ = true;
    }
  }
  ~Use() {
    if (statement_ != nullptr) {
      sqlite3_reset(statement_);
      sqlite3_clear_bindings(statement_);
    }
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

  Use& operator<<(int64_t value) {
    Check(statement_ == nullptr ? SQLITE_OK : sqlite3_bind_int64(statement_, ++bound_, value));
    return *this;
  }
  Use& operator<<(optional<int64_t> value) {
    if (value) {
      return *this << *value;
    }
    ++bound_;  // NULL is what isn't bound.
    return *this;
  }
  // The bytes must stay until Step().
  Use& operator<<(string_view bytes) {
    Check(statement_ == nullptr ? SQLITE_OK
                                : sqlite3_bind_blob64(statement_, ++bound_, bytes.data(),
                                                      bytes.size(), SQLITE_STATIC));
    return *this;
  }

  // True for a row.
  bool Step() {
    if (queue_->failed_ || statement_ == nullptr) {
      return false;
    }
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) {
      return true;
    }
    Check(code == SQLITE_DONE ? SQLITE_OK : code);
    return false;
  }
  // For a statement without rows.
  bool Run() {
    Step();
    return !queue_->failed_;
  }

  int64_t Integer(int column) {
    return sqlite3_column_int64(statement_, column);
  }
  optional<int64_t> MaybeInteger(int column) {
    if (sqlite3_column_type(statement_, column) == SQLITE_NULL) {
      return std::nullopt;
    }
    return Integer(column);
  }
  string Bytes(int column) {
    const void* data = sqlite3_column_blob(statement_, column);
    const int size = sqlite3_column_bytes(statement_, column);
    return data == nullptr ? string()
                           : string(static_cast<const char*>(data), static_cast<size_t>(size));
  }
  QueuedPush Push() {
    QueuedPush push;
    push.id = Integer(0);
    push.user = Integer(1);
    push.subscription = Integer(2);
    push.origin = Integer(3);
    push.next = MaybeInteger(4);
    push.attempts = Integer(5);
    push.expires = Integer(6);
    push.flags = Integer(7);
    return push;
  }
  // All rows that are left.
  bool Pushes(vector<QueuedPush>* pushes) {
    while (Step()) {
      pushes->push_back(Push());
    }
    return !queue_->failed_;
  }
  OriginState Origin() {
    return {Integer(0), MaybeInteger(1), Integer(2), Integer(3)};
  }

 private:
  void Check(int code) {
    if (code != SQLITE_OK) {
      queue_->Failed(code);
    }
  }

  Queue* queue_;
  sqlite3_stmt* statement_;
  int bound_ = 0;
};

std::span<const char* const> Queue::Schema() {
  return kSchema;
}

std::span<const char* const> Queue::Statements() {
  return kStatements;
}

std::unique_ptr<Queue> Queue::Open(const Options& options, int64_t wall, const Log& log,
                                   string* error) {
  static_assert(std::size(kStatements) == kLastAccepted + 1);
  // The constructor is private.
  std::unique_ptr<Queue> queue(new Queue());  // NOLINT(modernize-make-unique)
  queue->options_ = options;
  queue->path_ = options.directory + "/queue.sqlite";

  // SQLite's own locks would let two processes send the same pushes, one after
  // the other.
  const string lock = options.directory + "/queue.lock";
  queue->lock_ = open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (queue->lock_ == -1) {
    *error = Errno("Can't open " + lock);
    return nullptr;
  }
  constexpr std::chrono::milliseconds kStep{10};
  for (auto left = options.patience; flock(queue->lock_, LOCK_EX | LOCK_NB) != 0; left -= kStep) {
    if (left <= kStep.zero() || (errno != EWOULDBLOCK && errno != EINTR)) {
      *error = errno == EWOULDBLOCK ? lock + " is locked by another process" : Errno(lock);
      return nullptr;
    }
    std::this_thread::sleep_for(kStep);
  }

  if (!queue->OpenDatabase(wall, error)) {
    if (!queue->damaged_ || !queue->Restart(wall, log, error)) {
      return nullptr;
    }
  }
  return queue;
}

Queue::~Queue() {
  Close();
  if (lock_ != -1) {
    close(lock_);
  }
}

// While more and more is written, a checkpoint beside it never comes to the end of
// the log, which so grows on. Beyond some size one is made here.
int Queue::OnCommit(void* self, sqlite3* db, const char* name, int pages) {
  auto* queue = static_cast<Queue*>(self);
  if (pages < queue->log_pages_) {
    // It has begun anew.
    queue->checkpoint_at_ = kLogPages;
    queue->look_at_ = kLookPages;
  }
  queue->log_pages_ = pages;
  bool at_once = false;
  if (pages >= queue->look_at_) {
    queue->look_at_ = pages + kLookPages;
    at_once = !queue->HasFree(kReserve + kPageSize * static_cast<uint64_t>(pages));
  }
  if (pages >= queue->checkpoint_at_) {
    queue->checkpoint_at_ = pages + kLogPages;
    at_once = !queue->checkpointer_->Want() || pages >= kLogPagesMax || at_once;
  }
  if (at_once) {
    sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  }
  return SQLITE_OK;
}

bool Queue::HasFree(uint64_t size) const {
  struct statvfs disk {};
  // Some file systems don't tell.
  return statvfs(options_.directory.c_str(), &disk) != 0 || disk.f_blocks == 0 ||
         uint64_t{disk.f_bavail} * disk.f_frsize >= size;
}

bool Queue::HasRoom(uint64_t size) {
  // In the log, and then in the database.
  size = kReserve + 2 * size;
  if (db_ == nullptr || HasFree(size + kPageSize * static_cast<uint64_t>(log_pages_))) {
    return true;  // or it's not for want of room that nothing can be taken
  }
  int pages = -1;
  int done = -1;
  const int code =
      sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_PASSIVE, &pages, &done);
  // What was deleted leaves pages that are used again before the file grows.
  int64_t unused = 0;
  return code == SQLITE_OK && pages == done && Number("PRAGMA freelist_count", &unused) &&
         HasFree(size - std::min(size / 2, kPageSize * static_cast<uint64_t>(unused)));
}

void Queue::Close() {
  checkpointer_.reset();
  for (sqlite3_stmt* statement : statements_) {
    sqlite3_finalize(statement);
  }
  statements_.clear();
  sqlite3_close(db_);
  db_ = nullptr;
}

bool Queue::Failed(int code) {
  failed_ = true;
  error_ = path_ + ": " + (db_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(db_));
  if (IsDamage(code)) {
    damaged_ = true;
  }
  is_full_ = IsFull(code);
  return false;
}

bool Queue::Execute(const char* sql) {
  const int code = sqlite3_exec(db_, sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK || Failed(code);
}

bool Queue::Number(const char* sql, int64_t* value) {
  sqlite3_stmt* statement = nullptr;
  int code = sqlite3_prepare_v2(db_, sql, -1, &statement, nullptr);
  if (code == SQLITE_OK) {
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
      *value = sqlite3_column_int64(statement, 0);
    }
  }
  sqlite3_finalize(statement);
  return code == SQLITE_ROW || code == SQLITE_DONE || Failed(code);
}

bool Queue::OpenDatabase(int64_t wall, string* error) {
  failed_ = damaged_ = false;
  // So that the file, and with it -wal and -shm, has this mode from the start.
  const int fd = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd == -1) {
    *error = Errno("Can't open " + path_);
    return false;
  }
  close(fd);

  const int code =
      sqlite3_open_v2(path_.c_str(), &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (code != SQLITE_OK) {
    Failed(code);
    *error = error_;
    return false;
  }
  sqlite3_extended_result_codes(db_, 1);
  // Somebody else may look into the file, and must not hold us up for long.
  sqlite3_busy_timeout(db_, 20);
  int64_t application = 0;
  if (!Execute("PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;"
               "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;"
               // What is in the rows is sealed, and needn't be overwritten with zeros in
               // pages that nothing else is written to. Debian's default is to do so.
               "PRAGMA secure_delete = FAST") ||
      !Number("PRAGMA application_id", &application)) {
    *error = error_;
    return false;
  }
  int64_t tables = 0;
  if (!Number("SELECT count(*) FROM sqlite_master", &tables)) {
    *error = error_;
    return false;
  }
  if (application != kApplicationId && (application != 0 || tables != 0)) {
    *error = path_ + " is the database of another program";
    return false;
  }
  // What is committed survives the end of any process. A commit is not waited
  // for to be on the disk; after a power failure the last ones may be missing.
  if (!Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
               "PRAGMA journal_size_limit = 67108864") ||
      !Upgrade(error)) {
    if (error->empty()) {
      *error = error_;
    }
    return false;
  }
  for (const char* sql : kStatements) {
    sqlite3_stmt* statement = nullptr;
    const int result =
        sqlite3_prepare_v3(db_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    statements_.push_back(statement);
    if (result != SQLITE_OK) {
      Failed(result);
      *error = error_;
      return false;
    }
  }
  checkpointer_ = std::make_unique<Checkpointer>(path_);
  log_pages_ = 0;
  checkpoint_at_ = kLogPages;
  look_at_ = kLookPages;
  sqlite3_wal_hook(db_, &OnCommit, this);
  int64_t last = 0;
  int64_t last_push = 0;
  if (!Number("SELECT count(*) FROM push", &count_) ||
      !Number("SELECT max(id) FROM handoff", &last) ||
      !Number("SELECT max(id) FROM push", &last_push)) {
    *error = error_;
    return false;
  }
  last_handoff_ = std::max({last_handoff_, last, last_push / kPushesPerHandoff});
  if (options_.max_pages != 0) {
    Execute(("PRAGMA max_page_count = " + std::to_string(options_.max_pages)).c_str());
  }
  if (!ReadClock(wall)) {
    *error = error_;
    return false;
  }
  are_woken_ = false;
  // A full disk is no reason not to start: deliveries free space.
  if (!WakeOrigins(wall - skew_)) {
    Rollback();
    if (damaged_) {
      *error = error_;
      return false;
    }
  }
  return true;
}

// The time of day may have been set back since the last hand-off came.
bool Queue::ReadClock(int64_t wall) {
  constexpr int64_t kToleranceMsecs = kMinute;
  Use get_skew(this, kGetSkew);
  if (get_skew.Step()) {
    skew_ = get_skew.Integer(0);
  } else if (skew_ != 0) {
    skew_is_new_ = true;
  }
  Use get_last(this, kLastAccepted);
  if (get_last.Step()) {
    const int64_t last = get_last.Integer(0) / 1000;
    if (wall - skew_ < last - kToleranceMsecs) {
      SetSkew(wall - last);
    }
  }
  return !failed_;
}

// Nobody looks after an origin yet. A time so far away comes from a clock that
// was wrong.
bool Queue::WakeOrigins(int64_t now) {
  are_woken_ = are_woken_ || (Begin() && Use(this, kWakeActive).Run() &&
                              (Use(this, kWakeFar) << now + kMaxDelayMsecs).Run() && Commit());
  return are_woken_;
}

bool Queue::Upgrade(string* error) {
  const auto schema = options_.schema.empty() ? Schema() : options_.schema;
  const auto newest = static_cast<int64_t>(schema.size());
  int64_t version = 0;
  if (!Number("PRAGMA user_version", &version)) {
    return false;
  }
  // Nothing is written that needn't be: the disk may be full.
  if (version == newest) {
    return true;
  }
  if (!Execute("BEGIN IMMEDIATE")) {
    return false;
  }
  if (version < 0 || version > newest) {
    *error = path_ + " was made by a later version of this program (its format is " +
             std::to_string(version) + ", but " + std::to_string(newest) +
             " is the last that is known). Use that version, or move the file away.";
    Execute("ROLLBACK");
    return false;
  }
  for (; version < newest; ++version) {
    if (!Execute(schema[static_cast<size_t>(version)])) {
      return false;
    }
  }
  const string numbers = "PRAGMA application_id = " + std::to_string(kApplicationId) +
                         "; PRAGMA user_version = " + std::to_string(newest) + "; COMMIT";
  return Execute(numbers.c_str());
}

bool Queue::MoveAway(int64_t wall, const Log& log, string* error) {
  const string why = error_;
  Close();
  string to = path_ + ".damaged-" + TimeStamp(wall);
  for (int i = 2; access(to.c_str(), F_OK) == 0; ++i) {
    to = path_ + ".damaged-" + TimeStamp(wall) + "-" + std::to_string(i);
  }
  // Where there is none, an earlier call has moved it, and could do no more.
  if (rename(path_.c_str(), to.c_str()) != 0) {
    if (errno == ENOENT) {
      return true;
    }
    *error = Errno(why + ". And it can't be renamed to " + to);
    return false;
  }
  // SQLite takes what it finds by these names for the new file's own.
  rename((path_ + "-wal").c_str(), (to + "-wal").c_str());
  unlink((path_ + "-shm").c_str());
  log(COI_RELAY_LOG_ERROR, "The queue is damaged, and what was in it is not sent. It is kept as " +
                               to + ". (" + why + ")");
  return true;
}

bool Queue::Restart(int64_t wall, const Log& log, string* error) {
  if (is_new_) {
    Close();
  } else if (!MoveAway(wall, log, error)) {
    return false;
  }
  error->clear();
  if (OpenDatabase(wall, error)) {
    is_new_ = false;
    return true;
  }
  // It will be tried again. What is there by now is no longer what was damaged.
  is_new_ = !damaged_;
  damaged_ = true;
  return false;
}

bool Queue::Begin() {
  count_new_ = count_;
  return Use(this, kBegin).Run() && (!skew_is_new_ || (Use(this, kPutSkew) << skew_).Run());
}

bool Queue::Commit() {
  if (!Use(this, kCommit).Run()) {
    return false;
  }
  count_ = count_new_;
  skew_is_new_ = false;
  return true;
}

void Queue::Rollback() {
  if (db_ != nullptr && sqlite3_get_autocommit(db_) == 0) {
    sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  failed_ = false;
  count_new_ = count_;
}

void Queue::Checkpoint() {
  if (db_ != nullptr) {
    sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  }
}

bool Queue::HasHandoff(int64_t name, bool* has) {
  Use find(this, kFindHandoff);
  *has = (find << name).Step();
  return !failed_;
}

bool Queue::PutHandoff(int64_t id, int64_t name, int64_t accepted_usecs, string_view sealed) {
  return (Use(this, kPutHandoff) << id << name << accepted_usecs << sealed).Run();
}

bool Queue::GetHandoff(int64_t id, optional<QueuedHandoff>* handoff) {
  handoff->reset();
  Use get(this, kGetHandoff);
  if ((get << id).Step()) {
    *handoff = QueuedHandoff{get.Integer(0), get.Bytes(1)};
  }
  return !failed_;
}

bool Queue::PutPush(const QueuedPush& push) {
  Use put(this, kPutPush);
  put << push.id << push.user << push.subscription << push.origin << push.next << push.attempts
      << push.expires << push.flags;
  ++count_new_;
  return put.Run();
}

bool Queue::GetPush(int64_t id, optional<QueuedPush>* push) {
  push->reset();
  Use get(this, kGetPush);
  if ((get << id).Step()) {
    *push = get.Push();
  }
  return !failed_;
}

bool Queue::DeleteRow(int64_t id, optional<std::pair<int64_t, int64_t>>* line) {
  {
    Use remove(this, kDeletePush);
    if (!(remove << id).Step()) {
      return !failed_;
    }
    *line = {remove.Integer(0), remove.Integer(1)};
    remove.Run();
  }
  --count_new_;
  const int64_t handoff = id / kPushesPerHandoff;
  const int64_t first = handoff * kPushesPerHandoff;
  return (Use(this, kDeleteHandoff) << handoff << first << first + kPushesPerHandoff - 1).Run();
}

bool Queue::DeletePush(int64_t id, vector<Expected>* expected, int64_t now) {
  optional<std::pair<int64_t, int64_t>> line;
  return DeleteRow(id, &line) && (!line || Advance(line->first, line->second, expected, now));
}

bool Queue::DeleteSubscription(int64_t user, int64_t subscription, int64_t last_handoff,
                               vector<Expected>* expected, int64_t now) {
  vector<int64_t> ids;
  {
    Use list(this, kOfSubscription);
    list << user << subscription << (last_handoff + 1) * kPushesPerHandoff;
    while (list.Step()) {
      ids.push_back(list.Integer(0));
    }
  }
  optional<std::pair<int64_t, int64_t>> line;
  for (const int64_t id : ids) {
    DeleteRow(id, &line);
  }
  return Advance(user, subscription, expected, now);
}

bool Queue::SetNext(int64_t id, optional<int64_t> next, int64_t attempts, int64_t flags) {
  return (Use(this, kSetNext) << id << next << attempts << flags).Run();
}

bool Queue::Advance(int64_t user, int64_t subscription, vector<Expected>* expected, int64_t now) {
  SubscriptionState state;
  if (!GetSubscription(subscription, &state) || !state.resume) {
    return !failed_;
  }
  optional<QueuedPush> head;
  {
    Use first(this, kHeadOfLine);
    if ((first << user << subscription).Step()) {
      head = first.Push();
    }
  }
  if (failed_) {
    return false;
  }
  if (!head) {
    state.resume.reset();
    return PutSubscription(subscription, state);
  }
  if (!head->next) {
    const int64_t resume = std::min(*state.resume, now + kMaxDelayMsecs);
    head->next = std::min(std::max(resume, now), std::max(head->expires, now));
    SetNext(head->id, head->next, head->attempts, head->flags);
    expected->push_back({head->origin, *head->next});
  }
  return !failed_;
}

bool Queue::Hold(int64_t id, int64_t user, int64_t subscription, int64_t next, int64_t attempts,
                 vector<Expected>* expected, int64_t now) {
  optional<QueuedPush> push;
  SubscriptionState state;
  if (!GetPush(id, &push) || !GetSubscription(subscription, &state)) {
    return false;
  }
  // Another one of the subscription may have been told to wait for longer.
  next = std::max(next, std::min(state.resume.value_or(0), now + kMaxDelayMsecs));
  state.resume = next;
  return PutSubscription(subscription, state) &&
         (!push || SetNext(id, std::nullopt, attempts, push->flags & ~kFlagApart)) &&
         (Use(this, kHold) << user << subscription).Run() &&
         Advance(user, subscription, expected, now);
}

bool Queue::Defer(int64_t id, int64_t next, int64_t attempts, int64_t flags,
                  vector<Expected>* expected, int64_t now) {
  optional<QueuedPush> push;
  if (!GetPush(id, &push) || !push) {
    return !failed_;
  }
  next = std::min(next, push->expires);
  expected->push_back({push->origin, next});
  return SetNext(id, next, attempts, flags) &&
         Advance(push->user, push->subscription, expected, now);
}

bool Queue::MoveToOrigin(int64_t id, int64_t origin, int64_t next) {
  return (Use(this, kMoveToOrigin) << id << origin << next).Run();
}

bool Queue::CountUser(int64_t user, int64_t* count) {
  Use number(this, kCountUser);
  *count = (number << user).Step() ? number.Integer(0) : 0;
  return !failed_;
}

bool Queue::OldestOfUser(int64_t user, int64_t limit, vector<QueuedPush>* pushes) {
  return (Use(this, kOldestOfUser) << user << limit).Pushes(pushes);
}

bool Queue::LastOfLine(int64_t user, int64_t subscription, optional<QueuedPush>* last) {
  last->reset();
  Use list(this, kLastOfLine);
  list << user << subscription;
  if (list.Step()) {
    *last = list.Push();
  }
  return !failed_;
}

bool Queue::Refused(int64_t user, int64_t subscription, vector<QueuedPush>* pushes) {
  return (Use(this, kRefused) << user << subscription).Pushes(pushes);
}

bool Queue::Extend(int64_t id, int64_t expires, int64_t resume) {
  return (Use(this, kExtend) << id << expires << std::min(resume, expires)).Run();
}

bool Queue::Due(int64_t origin, int64_t now, int64_t limit,
                const std::function<bool(const QueuedPush&)>& wanted, vector<QueuedPush>* pushes,
                bool* all) {
  Use list(this, kDue);
  list << origin << now;
  *all = false;
  for (int i = 0; i < kLookAtMax && static_cast<int64_t>(pushes->size()) < limit; ++i) {
    if (!list.Step()) {
      *all = !failed_;
      break;
    }
    QueuedPush push = list.Push();
    if (wanted(push)) {
      pushes->push_back(push);
    }
  }
  return !failed_;
}

bool Queue::NextDue(int64_t origin, int64_t now, optional<int64_t>* next) {
  next->reset();
  Use first(this, kNextDue);
  if ((first << origin << now).Step()) {
    *next = first.Integer(0);
  }
  return !failed_;
}

bool Queue::Hasten(int64_t origin, int64_t later_than, int64_t now) {
  return (Use(this, kHasten) << origin << later_than << now).Run();
}

bool Queue::After(int64_t id, int64_t limit, vector<std::pair<int64_t, int64_t>>* pushes) {
  pushes->clear();
  Use list(this, kAfter);
  list << id << limit;
  while (list.Step()) {
    pushes->emplace_back(list.Integer(0), list.Integer(1));
  }
  return !failed_;
}

bool Queue::GetSubscription(int64_t id, SubscriptionState* state) {
  *state = SubscriptionState();
  Use get(this, kGetSubscription);
  if ((get << id).Step()) {
    state->gone = get.MaybeInteger(0);
    state->resume = get.MaybeInteger(1);
  }
  return !failed_;
}

bool Queue::PutSubscription(int64_t id, const SubscriptionState& state) {
  if (!state.gone && !state.resume) {
    return (Use(this, kDeleteSubscription) << id).Run();
  }
  return (Use(this, kPutSubscription) << id << state.gone << state.resume).Run();
}

bool Queue::PurgeGone(int64_t before, int64_t count, bool* more) {
  constexpr int kAtOnce = 5000;
  const bool good = (Use(this, kPurgeGone) << before << count << kAtOnce).Run();
  *more = good && sqlite3_changes(db_) >= kAtOnce;
  return good;
}

bool Queue::GetOrigin(int64_t id, optional<OriginState>* state) {
  state->reset();
  Use get(this, kGetOrigin);
  if ((get << id).Step()) {
    *state = get.Origin();
  }
  return !failed_;
}

bool Queue::PutOrigin(const OriginState& state) {
  return (Use(this, kPutOrigin) << state.id << state.due << state.failures << state.resume).Run();
}

bool Queue::DeleteOrigin(int64_t id) {
  return (Use(this, kDeleteOrigin) << id).Run();
}

bool Queue::DueOrigins(int64_t now, int64_t limit, vector<OriginState>* origins) {
  Use list(this, kDueOrigins);
  list << now << limit;
  while (list.Step()) {
    origins->push_back(list.Origin());
  }
  return !failed_;
}

bool Queue::NextOrigin(optional<int64_t>* due) {
  due->reset();
  Use first(this, kNextOrigin);
  if (first.Step()) {
    *due = first.Integer(0);
  }
  return !failed_;
}

void Queue::Shrink() {
  constexpr int64_t kLeast = int64_t{64} << 20U;
  // Not by SQLite's count of pages, as the files stay as they are where the checkpoint
  // meets another one.
  if (count_ == 0 && db_ != nullptr && FileSize(path_) + FileSize(path_ + "-wal") > kLeast) {
    Execute("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
  }
  Rollback();
}

}  // namespace coi::relay
