// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_RELAY_QUEUE_H
#define COI_RELAY_QUEUE_H

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coi-push.h"
#include "relay/checkpoint.h"
#include "relay/log.h"

struct sqlite3;
struct sqlite3_stmt;

// What waits to be sent, in a SQLite database: docs/queue.md. Names are numbers
// here, and contents are sealed; the caller makes both. Times are milliseconds
// of the queue's own clock (see skew()) where nothing else is said.
namespace coi::relay {

// A hand-off's pushes are numbered from its own number times this.
constexpr int64_t kPushesPerHandoff = 128;
static_assert(COI_HANDOFF_MAX_SUBSCRIPTIONS <= kPushesPerHandoff);

// The push has no `content` (MSG-9).
constexpr int64_t kFlagWithoutContent = 1;
// It has been refused, and neither waits for the others of its subscription nor
// they for it.
constexpr int64_t kFlagApart = 2;

struct QueuedPush {
  int64_t id = 0;
  int64_t user = 0;
  int64_t subscription = 0;
  int64_t origin = 0;
  // Nullopt: behind an older one of its subscription
  std::optional<int64_t> next;
  int64_t attempts = 0;
  int64_t expires = 0;
  int64_t flags = 0;
};

struct QueuedHandoff {
  int64_t accepted_usecs = 0;
  std::string sealed;
};

struct SubscriptionState {
  // Its push service has said so, then.
  std::optional<int64_t> gone;
  // Its pushes wait in line: only the oldest one is tried, not before this.
  std::optional<int64_t> resume;
};

struct OriginState {
  int64_t id = 0;
  // When the next one of its pushes is due; nullopt if there is none, and
  // kActive while the process looks after it.
  std::optional<int64_t> due;
  int64_t failures = 0;
  int64_t resume = 0;

  static constexpr int64_t kActive = -1;
};

// A push that is due, or will be: told to the scheduler after a change.
struct Expected {
  int64_t origin = 0;
  int64_t next = 0;
};

class Queue {
 public:
  struct Options {
    std::string directory;
    // Steps from each version of the schema to the next one; tests add one.
    std::span<const char* const> schema;
    // Pages that the file may have; 0 for no limit. Tests fill the disk so.
    int64_t max_pages = 0;
    // For another process that has the queue: after a reload, the one of before may
    // still be at work. Who connects waits meanwhile.
    std::chrono::milliseconds patience{20000};
  };
  // The schema as it is now.
  static std::span<const char* const> Schema();
  // All SQL that a running queue uses; a test looks at the plans.
  static std::span<const char* const> Statements();

  // A damaged file is moved away, and logged. Nullptr and a text for the admin
  // where there can't be a queue. `wall` is milliseconds since 1970.
  static std::unique_ptr<Queue> Open(const Options& options, int64_t wall, const Log& log,
                                     std::string* error);
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // The queue's clock is so many milliseconds behind the time of day. It differs by
  // what somebody has set that clock by, so that no push expires of that, nor waits
  // for longer. Written with the next transaction.
  int64_t skew() const {
    return skew_;
  }
  void SetSkew(int64_t skew) {
    skew_ = skew;
    skew_is_new_ = true;
  }
  // It has yet to be written.
  bool skew_is_new() const {
    return skew_is_new_;
  }

  // Whether the disk has room for so many bytes of new rows and, later, for their
  // being deleted. Not within a transaction. A queue that fills its disk to the last
  // page can't note what was sent, and so never gets emptier.
  bool HasRoom(uint64_t size);

  // All of the following fail (false) once one has failed, until Rollback(),
  // and Commit() too: so one look at its result is enough.
  bool Begin();
  bool Commit();
  void Rollback();
  // What has failed, for the log.
  const std::string& error() const {
    return error_;
  }
  // Nothing more could be written: a disk is full, or a quota or a limit reached.
  bool is_full() const {
    return is_full_;
  }
  // Brings the log into the database, where that has room for it. Then the log begins
  // anew, and needs none.
  void Checkpoint();
  // The file is damaged; nothing will work until Restart().
  bool damaged() const {
    return damaged_;
  }
  // Moves the damaged file away and begins with an empty one.
  bool Restart(int64_t wall, const Log& log, std::string* error);

  // As of the last commit, and with what the transaction under way has done.
  int64_t count() const {
    return count_;
  }
  int64_t count_now() const {
    return count_new_;
  }
  // For the next hand-off; never given twice while anything has the number.
  int64_t NewHandoffId() {
    return ++last_handoff_;
  }
  int64_t last_handoff() const {
    return last_handoff_;
  }

  // Is a hand-off of this name there?
  bool HasHandoff(int64_t name, bool* has);
  bool PutHandoff(int64_t id, int64_t name, int64_t accepted_usecs, std::string_view sealed);
  bool GetHandoff(int64_t id, std::optional<QueuedHandoff>* handoff);

  bool PutPush(const QueuedPush& push);
  // And the hand-off, if this was its last; and lets the next one in its line
  // have its turn. A push that isn't there (any more) is no error.
  bool DeletePush(int64_t id, std::vector<Expected>* expected, int64_t now);
  // Deletes those of a subscription that came with hand-offs up to this one, and lets
  // the next one of its line have its turn.
  bool DeleteSubscription(int64_t user, int64_t subscription, int64_t last_handoff,
                          std::vector<Expected>* expected, int64_t now);
  // This push failed: it is tried again at `next`, and until then no other one
  // of its subscription is, even if it isn't there any more itself.
  bool Hold(int64_t id, int64_t user, int64_t subscription, int64_t next, int64_t attempts,
            std::vector<Expected>* expected, int64_t now);
  // This push is tried again at `next`, and the others don't wait for it.
  bool Defer(int64_t id, int64_t next, int64_t attempts, int64_t flags,
             std::vector<Expected>* expected, int64_t now);
  // This push is of use for so long at least, and isn't tried before `resume`: it may
  // have been meant to end by then.
  bool Extend(int64_t id, int64_t expires, int64_t resume);
  // The newest of a line.
  bool LastOfLine(int64_t user, int64_t subscription, std::optional<QueuedPush>* last);
  // Those of a subscription that have been refused.
  bool Refused(int64_t user, int64_t subscription, std::vector<QueuedPush>* pushes);
  bool MoveToOrigin(int64_t id, int64_t origin, int64_t next);

  bool CountUser(int64_t user, int64_t* count);
  // The oldest pushes of a user.
  bool OldestOfUser(int64_t user, int64_t limit, std::vector<QueuedPush>* pushes);
  // What is due at an origin and wanted, oldest first. *all: there is no more that is
  // due, wanted or not.
  bool Due(int64_t origin, int64_t now, int64_t limit,
           const std::function<bool(const QueuedPush&)>& wanted, std::vector<QueuedPush>* pushes,
           bool* all);
  // The first that is due later.
  bool NextDue(int64_t origin, int64_t now, std::optional<int64_t>* next);
  // Lets all of an origin that are due later than this be due at `now`.
  bool Hasten(int64_t origin, int64_t later_than, int64_t now);

  // The pushes behind this one, and their origins.
  bool After(int64_t id, int64_t limit, std::vector<std::pair<int64_t, int64_t>>* pushes);

  bool GetSubscription(int64_t id, SubscriptionState* state);
  bool PutSubscription(int64_t id, const SubscriptionState& state);
  // Deletes some that are gone since before this, or that are beyond so many, and
  // tells whether there may be more of them.
  bool PurgeGone(int64_t before, int64_t count, bool* more);

  bool GetOrigin(int64_t id, std::optional<OriginState>* state);
  bool PutOrigin(const OriginState& state);
  bool DeleteOrigin(int64_t id);
  // Once after opening, which tries it already: nobody looks after what was looked
  // after before. Not within a transaction; nothing is due until it has worked.
  bool WakeOrigins(int64_t now);
  // Origins that nobody looks after, and that have something to do.
  bool DueOrigins(int64_t now, int64_t limit, std::vector<OriginState>* origins);
  bool NextOrigin(std::optional<int64_t>* due);

  // Gives space back to the file system. For an empty queue, or it takes long.
  void Shrink();

  // For tests.
  sqlite3* database() {
    return db_;
  }

 private:
  enum Sql : int;
  class Use;

  Queue() = default;
  static int OnCommit(void* self, sqlite3* db, const char* name, int pages);
  bool HasFree(uint64_t size) const;
  bool OpenDatabase(int64_t wall, std::string* error);
  bool ReadClock(int64_t wall);
  bool Upgrade(std::string* error);
  bool Execute(const char* sql);
  bool Number(const char* sql, int64_t* value);
  bool MoveAway(int64_t wall, const Log& log, std::string* error);
  void Close();
  bool Failed(int code);
  bool GetPush(int64_t id, std::optional<QueuedPush>* push);
  bool SetNext(int64_t id, std::optional<int64_t> next, int64_t attempts, int64_t flags);
  // And the hand-off, if this was its last. *line gets user and subscription, if
  // it was there.
  bool DeleteRow(int64_t id, std::optional<std::pair<int64_t, int64_t>>* line);
  // Lets the oldest of a line have its turn, or ends the line.
  bool Advance(int64_t user, int64_t subscription, std::vector<Expected>* expected, int64_t now);

  Options options_;
  std::string path_;
  int lock_ = -1;
  sqlite3* db_ = nullptr;
  std::unique_ptr<Checkpointer> checkpointer_;
  int log_pages_ = 0;
  int checkpoint_at_ = 0;  // pages
  int look_at_ = 0;        // pages
  std::vector<sqlite3_stmt*> statements_;
  bool failed_ = false;
  bool damaged_ = false;
  bool is_full_ = false;
  // Since OpenDatabase().
  bool are_woken_ = false;
  // The damaged file has been moved away, and another couldn't be made yet.
  bool is_new_ = false;
  std::string error_;
  int64_t skew_ = 0;
  bool skew_is_new_ = false;
  int64_t count_ = 0;
  int64_t count_new_ = 0;
  int64_t last_handoff_ = 0;
};

}  // namespace coi::relay

#endif  // COI_RELAY_QUEUE_H
